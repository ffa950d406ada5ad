//! Single values of the file. Each converter takes what TOML found and says, where it is not
//! allowed, what is.

use crate::net::{Identity, IpNet, Ipv4Net, Ipv6Net, MaskedAddr, Port, Protocol};
use crate::presence::InvalidName;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use toml::de::DeValue;

/// Goes behind `file:line:column: key: `.
pub(super) type Reason = String;

pub(super) fn text<'v>(value: &'v DeValue<'_>, what: &str) -> Result<&'v str, Reason> {
    value
        .as_str()
        .ok_or_else(|| format!("{what} is expected, not {}", described(value)))
}

fn described(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(_) => "a string".into(),
        DeValue::Integer(n) => format!("the number {n}"),
        DeValue::Float(n) => format!("the number {n}"),
        DeValue::Boolean(b) => format!("{b}"),
        DeValue::Datetime(_) => "a date".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

fn parsed<T: FromStr<Err: ToString>>(value: &DeValue<'_>, what: &str) -> Result<T, Reason> {
    text(value, what)?
        .parse()
        .map_err(|e: T::Err| e.to_string())
}

pub(super) fn identity(value: &DeValue<'_>) -> Result<Identity, Reason> {
    parsed(value, "a host name, an IP address or the form user@host")
}

/// An entity, a user's name or a location.
pub(super) fn name<T: FromStr<Err = InvalidName>>(value: &DeValue<'_>) -> Result<T, Reason> {
    parsed(value, "a name")
}

pub(super) fn truth(value: &DeValue<'_>) -> Result<bool, Reason> {
    value
        .as_bool()
        .ok_or_else(|| format!("true or false is expected, not {}", described(value)))
}

pub(super) fn net(value: &DeValue<'_>) -> Result<IpNet, Reason> {
    prefix(text(value, "a prefix like \"10.1.0.0/16\"")?)
}

pub(super) fn masked(value: &DeValue<'_>) -> Result<MaskedAddr, Reason> {
    parsed(value, "a prefix like \"10.1.0.0/16\"")
}

/// Of Mobile IP, which is of IPv4 here.
pub(super) fn v4(value: &DeValue<'_>) -> Result<Ipv4Addr, Reason> {
    match address(value)? {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(address) => Err(format!("{address}: Mobile IP is of IPv4 here")),
    }
}

/// As [`v4`]: a prefix, without what is behind its mask.
pub(super) fn v4_net(value: &DeValue<'_>) -> Result<Ipv4Net, Reason> {
    match net(value)?.trunc() {
        IpNet::V4(net) => Ok(net),
        IpNet::V6(net) => Err(format!("{net}: Mobile IP is of IPv4 here")),
    }
}

/// A contiguous mask, which may be written in either form.
/// One that moves along: an IPv6 prefix is one that others can route to.
pub(super) fn mobile_network(value: &DeValue<'_>) -> Result<IpNet, Reason> {
    let net = net(value)?.trunc();
    match net {
        IpNet::V6(v6)
            if v6.prefix_len() == 0
                || v6.addr().is_multicast()
                || v6.addr().is_unicast_link_local()
                || v6.addr().to_bits() >> 48 == 0 =>
        {
            Err(format!("{net} cannot move: nobody can route to it"))
        }
        net => Ok(net),
    }
}

/// Each in its family.
pub(super) fn by_family(nets: impl IntoIterator<Item = IpNet>) -> (Vec<Ipv4Net>, Vec<Ipv6Net>) {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for net in nets {
        match net {
            IpNet::V4(net) => v4.push(net),
            IpNet::V6(net) => v6.push(net),
        }
    }
    (v4, v6)
}

pub(super) fn prefix(text: &str) -> Result<IpNet, Reason> {
    let masked: MaskedAddr = text
        .parse()
        .map_err(|e: crate::net::masked::InvalidMaskedAddr| e.to_string())?;
    masked
        .to_prefix()
        .ok_or_else(|| format!("`{text}` has ones and zeros mixed in its mask: use prefixes"))
}

pub(super) fn address(value: &DeValue<'_>) -> Result<IpAddr, Reason> {
    let text = text(value, "an IP address")?;
    let addr: IpAddr = text
        .parse()
        .map_err(|_| format!("`{text}` is not an IP address"))?;
    if addr.is_unspecified() || addr.is_multicast() || addr.is_loopback() {
        return Err(format!(
            "{addr} is not an address that others can answer to"
        ));
    }
    Ok(addr)
}

pub(super) fn protocol(value: &DeValue<'_>) -> Result<Protocol, Reason> {
    match value {
        DeValue::Integer(_) => {
            let allowed = "a protocol number is 1–255, or \"any\"";
            Ok(Protocol::Is(integer(value, 1..=255, allowed)?))
        }
        _ => parsed(value, "a protocol name or number"),
    }
}

pub(super) fn port(value: &DeValue<'_>) -> Result<Port, Reason> {
    const ALLOWED: &str = "a port is 1–65535, or \"any\"";
    match value {
        DeValue::String(s) if s == "any" => Ok(Port::Any),
        DeValue::String(s) => match s.parse::<u16>() {
            Ok(n) if n != 0 => Ok(Port::Is(n)),
            _ => Err(format!("`{s}` is not a port: {ALLOWED}")),
        },
        _ => Ok(Port::Is(integer(value, 1..=65535, ALLOWED)?)),
    }
}

/// An integer within bounds; `allowed` says the bounds in the words of the key.
pub(super) fn integer<T: TryFrom<i128>>(
    value: &DeValue<'_>,
    bounds: std::ops::RangeInclusive<i128>,
    allowed: &str,
) -> Result<T, Reason> {
    let DeValue::Integer(n) = value else {
        return Err(format!("not {}: {allowed}", described(value)));
    };
    i128::from_str_radix(n.as_str(), n.radix())
        .ok()
        .filter(|n| bounds.contains(n))
        .and_then(|n| T::try_from(n).ok())
        .ok_or_else(|| format!("{n} is out of bounds: {allowed}"))
}

pub(super) fn count(
    value: &DeValue<'_>,
    bounds: std::ops::RangeInclusive<i128>,
) -> Result<u32, Reason> {
    let allowed = format!("a whole number from {} to {}", bounds.start(), bounds.end());
    integer(value, bounds, &allowed)
}

/// A mark of exactly one bit.
pub(super) fn bit(value: &DeValue<'_>) -> Result<u32, Reason> {
    const ALLOWED: &str = "a mark is one bit of 32, like 0x80000000";
    let mark: u32 = integer(value, 1..=i128::from(u32::MAX), ALLOWED)?;
    if mark.is_power_of_two() {
        Ok(mark)
    } else {
        Err(format!("0x{mark:x} has several bits: {ALLOWED}"))
    }
}

/// One of a few words.
pub(super) fn word<T: Copy>(value: &DeValue<'_>, words: &[(&str, T)]) -> Result<T, Reason> {
    let names: Vec<String> = words
        .iter()
        .map(|(name, _)| format!("\"{name}\""))
        .collect();
    let allowed = match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => names.concat(),
    };
    let text = text(value, &allowed)?;
    words
        .iter()
        .find(|(name, _)| *name == text)
        .map(|(_, meaning)| *meaning)
        .ok_or_else(|| format!("\"{text}\" is not {allowed}"))
}

pub(super) fn absolute_path(value: &DeValue<'_>) -> Result<PathBuf, Reason> {
    let path = PathBuf::from(text(value, "an absolute path")?);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(format!("`{}` is not an absolute path", path.display()))
    }
}

/// Whole seconds as a number, or a number with a unit.
pub(super) fn duration(
    value: &DeValue<'_>,
    bounds: std::ops::RangeInclusive<Duration>,
) -> Result<Duration, Reason> {
    const ALLOWED: &str =
        "seconds as a number, or a text like \"250ms\", \"30s\", \"5m\" or \"1h\"";
    let duration = match value {
        DeValue::Integer(_) => {
            Duration::from_secs(integer(value, 0..=i128::from(u32::MAX), ALLOWED)?)
        }
        DeValue::String(s) => {
            parse_duration(s).ok_or_else(|| format!("`{s}` is not a duration: {ALLOWED}"))?
        }
        _ => return Err(format!("not {}: {ALLOWED}", described(value))),
    };
    if bounds.contains(&duration) {
        Ok(duration)
    } else {
        Err(format!(
            "{} is out of bounds: from {} to {}",
            show_duration(duration),
            show_duration(*bounds.start()),
            show_duration(*bounds.end())
        ))
    }
}

/// As [`duration`], where zero turns something off.
pub(super) fn duration_or_never(
    value: &DeValue<'_>,
    bounds: std::ops::RangeInclusive<Duration>,
) -> Result<Duration, Reason> {
    match duration(value, Duration::ZERO..=*bounds.end())? {
        Duration::ZERO => Ok(Duration::ZERO),
        _ => duration(value, bounds).map_err(|reason| format!("{reason}, or 0 for never")),
    }
}

pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number = u64::from(number.parse::<u32>().ok()?);
    match unit.trim_start() {
        "ms" => Some(Duration::from_millis(number)),
        "" | "s" => Some(Duration::from_secs(number)),
        "m" | "min" => Some(Duration::from_secs(number * 60)),
        "h" => Some(Duration::from_secs(number * 3600)),
        "d" => Some(Duration::from_secs(number * 86400)),
        _ => None,
    }
}

/// In the largest unit that leaves a whole number; parses back.
pub fn show_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    if ms == 0 {
        return "0s".into();
    }
    [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
    ]
    .into_iter()
    .find(|(_, size)| ms.is_multiple_of(*size))
    .map_or_else(
        || format!("{ms}ms"),
        |(unit, size)| format!("{}{unit}", ms / size),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_without_a_known_unit_are_refused() {
        for text in [
            "",
            "s",
            "1.5s",
            "-1s",
            "5 weeks",
            "99999999999999999999s",
            "1s1s",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        assert_eq!(parse_duration("2 min"), Some(Duration::from_secs(120)));
    }

    proptest! {
        #[test]
        fn durations_print_and_parse_back(ms in 0..=u32::MAX) {
            let duration = Duration::from_millis(ms.into());
            prop_assert_eq!(parse_duration(&show_duration(duration)), Some(duration));
        }
    }
}
