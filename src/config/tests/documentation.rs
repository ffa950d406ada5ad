//! What docs and the example say of the keys is what the parser does.

use super::*;

const DOCUMENTATION: &str = include_str!("../../../docs/configuration.md");

/// The rows of a section's table: everything between its heading and the next.
fn documented(heading: &str) -> Vec<&'static str> {
    let start = format!("## `{heading}`\n");
    let (_, section) = DOCUMENTATION
        .split_once(&start)
        .unwrap_or_else(|| panic!("no section {heading}"));
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split('`').next()).collect()
}

#[test]
fn the_documentation_has_a_row_for_each_key_and_no_other() {
    for table in keys::TABLES {
        assert_eq!(
            documented(&table.heading()),
            table.names,
            "{}",
            table.heading()
        );
    }
    let sections = DOCUMENTATION.matches("\n## `[").count();
    assert_eq!(sections, keys::TABLES.len());
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    let (_, block) = DOCUMENTATION
        .split_once("```toml\n# every default\n")
        .expect("a block of defaults");
    let defaults = block.split("```").next().unwrap();
    let minimal = load_text(&whole());
    let spelled_out = load_text(&format!("{}{defaults}", whole()));
    assert_eq!(format!("{minimal:?}"), format!("{spelled_out:?}"));
    let (_, block) = DOCUMENTATION
        .split_once("```toml\n# every default of presence\n")
        .expect("a block of defaults");
    let of_presence = block.split("```").next().unwrap();
    let entity = "[presence]\nentity = \"peerA@example.com\"\n";
    let minimal = load_text(&format!("{}{entity}", whole()));
    let spelled_out = load_text(&format!("{}{entity}{of_presence}", whole()));
    assert_eq!(format!("{minimal:?}"), format!("{spelled_out:?}"));
    let optional = |name: &&&str| !["entity", "user"].contains(*name);
    for name in keys::PRESENCE.names.iter().filter(optional) {
        assert!(
            format!("\n{of_presence}").contains(&format!("\n{name} = ")),
            "{name} has no default"
        );
    }
    for table in [keys::AGENT, keys::IKE, keys::DISCOVERY, keys::INTERCEPTION] {
        for name in table.names.iter().filter(|name| **name != "control-group") {
            assert!(
                defaults.contains(&format!("\n{name} = ")),
                "{name} has no default"
            );
        }
    }
}

#[test]
fn the_example_file_passes_and_so_it_does_with_every_comment_of_a_key_taken_away() {
    let example = include_str!("../../../dist/xfrm-agent.toml");
    let key = "0sMDEyMzQ1Njc4OWFiY2RlZg==\n";
    let dir = written(&[("c.toml", example, 0o644), ("gw106.psk", key, 0o600)]);
    let loaded = load(&dir.path().join("c.toml")).unwrap();
    assert_eq!(loaded.warnings, []);
    let uncommented: Vec<&str> = example
        .lines()
        .map(|line| {
            line.strip_prefix('#')
                .filter(|l| !l.starts_with(' '))
                .unwrap_or(line)
        })
        .collect();
    // One machine has one role of Mobile IP.
    let begins = |heading: &str| {
        let at = uncommented.iter().position(|l| l.starts_with(heading));
        at.unwrap_or_else(|| panic!("the example lacks {heading}"))
    };
    let (moving, serving) = (begins("[mobility]"), begins("[home-agent]"));
    let (visited, keys) = (begins("[foreign-agent]"), begins("[[agent-key]]"));
    let proxied = begins("[proxy-agent]");
    let but = |with: &[&str]| {
        let mut lines = uncommented[keys..].to_vec();
        lines.retain(|line| !with.iter().any(|with| line.starts_with(with)));
        lines
    };
    let of_visitors = but(&["foreign-agent", "mobile-node"]);
    let with_agents = but(&["mobile-node", "home-agent"]);
    let alone = &uncommented[..moving];
    let with_one_role = [
        [&uncommented[..serving], &with_agents].concat(),
        [alone, &uncommented[serving..visited], &with_agents].concat(),
        [alone, &uncommented[visited..proxied], &of_visitors].concat(),
        [alone, &uncommented[proxied..keys]].concat(),
    ];
    for lines in with_one_role {
        assert_eq!(load_text(&lines.join("\n")).warnings, []);
    }
    for table in keys::TABLES {
        for name in table.names {
            let line = |l: &&str| l.starts_with(&format!("{name} = "));
            assert!(uncommented.iter().any(line), "the example lacks {name}");
        }
    }
}
