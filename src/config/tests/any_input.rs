//! No text makes the parser panic.

use super::*;

fn value() -> impl Strategy<Value = String> {
    const VALUES: &[&str] = &[
        "\"\"",
        "\"self\"",
        "\"any\"",
        "\"10.1.0.0/16\"",
        "\"::/0\"",
        "\"0.0.0.0 0.255.0.1\"",
        "\"10.1.0.0 255.255.0.255\"",
        "\"tcp\"",
        "\"psk\"",
        "\"short\"",
        "\"1h\"",
        "\"gw\"",
        "\"/run/x\"",
        "\"clear\"",
        "0",
        "-1",
        "1",
        "65536",
        "0x80000000",
        "99999999999999999999",
        "1.5",
        "nan",
        "true",
        "1979-05-27",
        "[]",
        "[1, \"a\", [[]]]",
        "{}",
        "{ a.b = 1 }",
        "[\"10.2.0.0/16\", \"::1\"]",
        "\"a@b\"",
        "\"office\"",
        "\"10.0.0.1\"",
        "\"esp\"",
        "\"ipsec\"",
        "\"09:00-17:30\"",
        "{ action = \"none\" }",
        "{ action = \"ipsec\", protocol = [\"ah\"], level = \"require\" }",
    ];
    prop::sample::select(VALUES).prop_map(str::to_owned)
}

fn table() -> impl Strategy<Value = String> {
    let key = |keys: &'static keys::Keys| {
        let lines = prop::collection::btree_map(prop::sample::select(keys.names), value(), 0..9);
        lines.prop_map(move |lines| {
            let lines = lines
                .iter()
                .map(|(key, value)| format!("{key} = {value}\n"));
            format!("{}\n{}", keys.heading(), lines.collect::<String>())
        })
    };
    prop::sample::select(keys::TABLES).prop_flat_map(key)
}

proptest! {
    /// Accepted, or refused for at least one reason with a place in the file.
    #[test]
    fn files_of_any_known_keys_are_judged(tables in prop::collection::vec(table(), 0..8)) {
        let text = tables.concat();
        if let Err(problems) = parse(&text) {
            prop_assert!(!problems.is_empty());
            let lines = text.lines().count() + 1;
            for position in problems.iter().filter_map(|problem| problem.position) {
                prop_assert!((1..=lines).contains(&position.line), "{position}");
            }
        }
    }

    #[test]
    fn any_text_is_judged(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }
}
