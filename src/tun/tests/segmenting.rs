use super::naive::{ACK, CWR, FIN, Ip, PUSH, Tcp, options, payload};
use crate::tun::frame::{FrameHeader, Partial, Segments};
use crate::tun::segments::{Cut, Malformed, cut};
use proptest::prelude::*;

/// The inner packets; in front of each the tunnel header is looked at.
fn packets(cut: &Cut, heads: &[u8], packet: &[u8]) -> Vec<Vec<u8>> {
    let one = |at| {
        let head = &heads[cut.head(at)];
        if !cut.is_whole() {
            assert_eq!(head[..4], [4, 4, 0, 0]);
        }
        let inner = head.get(4..).unwrap_or_default();
        [inner, &packet[cut.payload(at)]].concat()
    };
    (0..cut.count()).map(one).collect()
}

/// As the kernel hands it over: one long packet whose checksum is of the pseudo header only.
fn handed_over(
    ip: &Ip,
    protocol: u8,
    mut transport: Vec<u8>,
    data: &[u8],
    sum_at: usize,
) -> Vec<u8> {
    let len = transport.len() + data.len();
    transport[sum_at..sum_at + 2].copy_from_slice(&ip.partial(protocol, len));
    transport.extend(data);
    ip.packet(protocol, &transport)
}

proptest! {
    #[test]
    fn tcp_is_cut_as_if_each_segment_had_been_built(
        (len, size) in (0_usize..9000, 1_u16..3000).prop_filter("few", |(len, size)| len / usize::from(*size) < 200),
        flags in any::<u8>(),
        id in any::<u16>(),
        dont_fragment in any::<bool>(),
        tcp_options in options(10),
        ip_options in options(10),
        earlier in 0_usize..9,
    ) {
        let data = payload(len, id as u8);
        let ip = Ip { id, dont_fragment, tos: 0xb9, options: ip_options, ..Ip::default() };
        let tcp = Tcp { flags, options: tcp_options, ..Tcp::default() };
        let mut packet = handed_over(&ip, 6, tcp.header(), &data, 16);
        let segments = Segments::Tcp(size);
        let partial = Some(Partial { start: 20 + ip.options.len() as u16, offset: 16 });
        let mut heads = vec![9; earlier];
        let cut = cut(FrameHeader { partial, segments }, &mut packet, &mut heads).unwrap();

        let pieces: Vec<_> = data.chunks(usize::from(size)).collect();
        let pieces = if pieces.is_empty() { vec![&[][..]] } else { pieces };
        let last = pieces.len() - 1;
        let mut expected = Vec::new();
        for (at, piece) in pieces.into_iter().enumerate() {
            let mut tcp = Tcp {
                sequence: tcp.sequence.wrapping_add((at * usize::from(size)) as u32),
                ..tcp.clone()
            };
            if at < last { tcp.flags &= !(FIN | PUSH) }
            if at > 0 { tcp.flags &= !CWR }
            let ip = Ip { id: id.wrapping_add(at as u16), ..ip.clone() };
            expected.push(ip.tcp(&tcp, piece));
        }
        prop_assert_eq!(cut.octets(), expected.iter().map(Vec::len).sum::<usize>());
        prop_assert_eq!(cut.largest(), expected[0].len());
        prop_assert_eq!(packets(&cut, &heads, &packet), expected);
    }

    #[test]
    fn datagrams_are_cut_at_their_boundaries(len in 1_usize..5000, size in 20_u16..1500, id in any::<u16>()) {
        let data = payload(len, 3);
        let ip = Ip { id, ..Ip::default() };
        let header = [0x9c, 0x40, 0, 53, 0, 0, 0, 0];
        let mut packet = handed_over(&ip, 17, header.to_vec(), &data, 6);
        let mut heads = Vec::new();
        let header = FrameHeader { partial: None, segments: Segments::Udp(size) };
        let cut = cut(header, &mut packet, &mut heads).unwrap();
        let pieces = data.chunks(usize::from(size)).enumerate();
        let expected: Vec<_> = pieces
            .map(|(at, piece)| {
                let ip = Ip { id: id.wrapping_add(at as u16), ..ip.clone() };
                ip.udp([40_000, 53], piece)
            })
            .collect();
        prop_assert_eq!(packets(&cut, &heads, &packet), expected);
    }

    #[test]
    fn a_checksum_that_was_left_is_put_in_and_nothing_else_is_changed(len in 0_usize..200) {
        let data = payload(len, 1);
        let ip = Ip::default();
        let tcp = Tcp { flags: ACK | PUSH, ..Tcp::default() };
        let mut packet = handed_over(&ip, 6, tcp.header(), &data, 16);
        let header = FrameHeader {
            partial: Some(Partial { start: 20, offset: 16 }),
            segments: Segments::Itself,
        };
        let mut heads = Vec::new();
        let cut = cut(header, &mut packet, &mut heads).unwrap();
        prop_assert!(cut.is_whole() && heads.is_empty());
        prop_assert_eq!(packet, ip.tcp(&tcp, &data));
    }

    #[test]
    fn nothing_that_an_adapter_could_say_panics(
        packet in prop::collection::vec(any::<u8>(), 0..120),
        header in any::<[u8; 10]>(),
        kind in prop::sample::select(vec![0_u8, 1, 5]),
        sound in any::<bool>(),
    ) {
        let mut packet = packet;
        let mut header = header;
        header[1] = kind;
        if sound && packet.len() >= 20 {
            packet[0] = 0x45;
            packet[9] = [6, 6, 17][usize::from(kind) / 2];
            packet[6..8].fill(0);
        }
        if let Some(frame) = FrameHeader::decode(&header) {
            let mut heads = Vec::new();
            if let Ok(cut) = cut(frame, &mut packet, &mut heads) {
                let all = packets(&cut, &heads, &packet);
                prop_assert_eq!(all.concat().len(), cut.octets());
            }
        }
    }
}

/// In UDP no checksum is written as zero.
#[test]
fn a_datagram_whose_sum_comes_to_zero_says_all_ones() {
    let ip = Ip::default();
    let found = (0..=u16::MAX).find(|n| {
        let built = ip.udp([1, 2], &n.to_be_bytes());
        built[26..28] == [0xff, 0xff]
    });
    let data = found.unwrap().to_be_bytes();
    let mut packet = handed_over(&ip, 17, vec![0, 1, 0, 2, 0, 10, 0, 0], &data, 6);
    let header = FrameHeader {
        partial: Some(Partial {
            start: 20,
            offset: 6,
        }),
        segments: Segments::Itself,
    };
    cut(header, &mut packet, &mut Vec::new()).unwrap();
    assert_eq!(packet, ip.udp([1, 2], &data));
}

#[test]
fn what_is_no_packet_of_ours_is_refused() {
    let plain = Ip::default().udp([1, 2], b"x");
    let mut longer = plain.clone();
    longer.push(0);
    let v6 = vec![0x60; 60];
    for packet in [longer, v6, Vec::new(), plain[..20].to_vec()] {
        let got = cut(FrameHeader::PLAIN, &mut packet.clone(), &mut Vec::new());
        assert_eq!(got, Err(Malformed), "{packet:?}");
    }
    // Behind the packet's end, and in its own header: its length would be another then.
    for (start, offset) in [(20, 8), (1, 0), (18, 2)] {
        let partial = Some(Partial { start, offset });
        let segments = Segments::Itself;
        let outside = FrameHeader { partial, segments };
        let got = cut(outside, &mut plain.clone(), &mut Vec::new());
        assert_eq!(got, Err(Malformed), "{start} {offset}");
    }
    let other = FrameHeader {
        partial: None,
        segments: Segments::Tcp(9),
    };
    assert_eq!(
        cut(other, &mut plain.clone(), &mut Vec::new()),
        Err(Malformed)
    );
}
