//! What happened on the wire that no effect tells of.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl Counters {
            /// Stable names with their counts.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((concat!("ike_", stringify!($name)), self.$name)),+].into_iter()
            }
        }
    };
}

counters! {
    /// Datagrams that are no IKE message.
    malformed,
    /// Messages for IKE SAs that are not here.
    unknown_spi,
    /// Encrypted messages whose integrity check failed.
    integrity_failed,
    /// Requests and responses outside the window of message IDs.
    out_of_window,
    /// Requests sent again because no answer came.
    retransmitted,
    /// Answers given again because the request came again.
    replayed,
    /// `IKE_SA_INIT` that came along with something else and was answered so.
    openings_answered,
    /// IKE SAs begun from such an answer.
    openings_used,
    /// Requests given up.
    unanswered,
    /// `IKE_SA_INIT` answered with a demand for a cookie.
    cookies_demanded,
    /// Cookies that were not ours, or were too old.
    cookies_invalid,
    /// `IKE_SA_INIT` dropped because the table of half-open SAs was full.
    half_open_full,
    /// Peers that authenticated and hold too many IKE SAs already.
    too_many_sas,
    /// Half-open SAs whose peer never authenticated.
    half_open_expired,
    /// Proposals that nothing could be chosen from.
    no_proposal_chosen,
    /// Key exchanges in a group that we asked to be changed, or were asked to change.
    invalid_ke,
    /// Peers that are not in the database, or failed to prove who they are.
    authentication_failed,
    /// Children refused because the peer may not protect those addresses.
    not_authorized,
    /// Children refused because nothing of the traffic is protected here.
    ts_unacceptable,
    /// Clients that there was no address for.
    no_address,
    /// Answers to `IKE_SA_INIT` beyond those that are followed up.
    candidates_ignored,
    /// Unauthenticated errors that were not believed.
    errors_ignored,
}
