//! A `[[vpn]]` of other software, which the commands `up` and `down` bring about and end, or strongSwan's charon.

use super::report::Report;
use super::section::Section;
use super::values::{self, Reason};
use super::vpn;
use crate::agent::vpn::settings::{Driver, OtherVpn, Shape};
use crate::kernel::desired::{InvalidLinkName, LinkName};
use std::path::Path;
use std::time::Duration;
use toml::de::DeValue;

/// Default of `command-patience`.
const PATIENCE: Duration = Duration::from_secs(20);
const SECOND: Duration = Duration::from_secs(1);

/// What says how other software's VPN is run.
const ITS_KEYS: [&str; 7] = [
    "up",
    "down",
    "vici",
    "connection",
    "child",
    "command-patience",
    "interface",
];
const OF_PROGRAMS: [&str; 2] = ["up", "down"];
const OF_CHARON: [&str; 3] = ["vici", "connection", "child"];
/// What only our own needs.
const OUR_KEYS: [&str; 4] = ["peer", "local", "subnets", "start"];

pub(super) fn is_other(section: &Section<'_, '_>) -> bool {
    ["up", "down", "vici"].iter().any(|key| section.has(key))
}

/// In a `[[vpn]]` of our own.
pub(super) fn refuse(report: &Report<'_>, section: &Section<'_, '_>) {
    let reason = "it is of a VPN of other software, which has `up` and `down`, or `vici`";
    refuse_all(report, section, &ITS_KEYS, reason);
}

fn refuse_all(report: &Report<'_>, section: &Section<'_, '_>, keys: &[&'static str], reason: &str) {
    section.pass_over(keys);
    for key in keys.iter().filter(|key| section.has(key)) {
        report.error(&section.span(key), format!("{key}: {reason}"));
    }
}

pub(super) fn read(report: &Report<'_>, section: &Section<'_, '_>) -> Option<OtherVpn> {
    let reason = "other software decides that: leave it out";
    refuse_all(report, section, &OUR_KEYS, reason);
    let name = section.required("name", vpn::name);
    let addresses = vpn::one_of_each(
        report,
        section,
        section.list("gateway", values::address).unwrap_or_default(),
    );
    let driver = if section.has("vici") {
        charon(report, section)
    } else {
        programs(report, section)
    };
    let mut patience = PATIENCE;
    section.set("command-patience", &mut patience, |v| {
        values::duration(v, SECOND..=600 * SECOND)
    });
    let interface = section.optional("interface", link);
    let address = section.optional("address", |v| {
        values::word(v, &[("none", Shape::NoAddress)])
    });
    let shape = match (interface, address) {
        (Some(_), Some(_)) => {
            let message = "address: the VPN has that of its `interface`: leave one of the two out";
            report.error(&section.span("address"), message.to_owned());
            return None;
        }
        (Some(interface), None) => Shape::Interface(interface),
        (None, Some(shape)) => shape,
        (None, None) => Shape::Said,
    };
    Some(OtherVpn {
        name: name?,
        addresses,
        driver: driver?,
        patience,
        shape,
    })
}

fn programs(report: &Report<'_>, section: &Section<'_, '_>) -> Option<Driver> {
    let reason = "it belongs to `vici`, which is not there";
    refuse_all(report, section, &OF_CHARON, reason);
    let up = command(report, section, "up");
    let down = command(report, section, "down");
    Some(Driver::Programs {
        up: up?,
        down: down?,
    })
}

fn charon(report: &Report<'_>, section: &Section<'_, '_>) -> Option<Driver> {
    let reason = "charon brings this VPN up: leave out either this or `vici`";
    refuse_all(report, section, &OF_PROGRAMS, reason);
    let socket = section.required("vici", values::absolute_path);
    let connection = section.required("connection", vpn::name);
    let child = section.optional("child", vpn::name);
    let connection = connection?;
    Some(Driver::Charon {
        socket: socket?,
        child: child.unwrap_or_else(|| connection.clone()),
        connection,
    })
}

/// A program with its arguments, none of which a shell sees.
fn command(
    report: &Report<'_>,
    section: &Section<'_, '_>,
    key: &'static str,
) -> Option<Vec<String>> {
    let words = section.required_list(key, "there is nothing to run", |v| {
        let word = values::text(v, "a program or an argument")?;
        let is_sound = !word.contains('\0');
        let sound = is_sound.then(|| word.to_owned());
        sound.ok_or_else(|| "a word of a command has no NUL".to_owned())
    });
    let (program, at) = words.first()?;
    if !Path::new(program).is_absolute() {
        let message = format!("{key}: {program} must be an absolute path: no shell looks for it");
        report.error(at, message);
        return None;
    }
    Some(words.into_iter().map(|(word, _)| word).collect())
}

fn link(value: &DeValue<'_>) -> Result<LinkName, Reason> {
    let text = values::text(value, "the name of an interface")?;
    text.parse()
        .map_err(|error: InvalidLinkName| error.to_string())
}
