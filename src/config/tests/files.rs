//! Secrets beside the configuration, who may read and write them, and what a reload finds.

use super::*;

#[test]
fn the_psk_file_is_found_beside_the_configuration() {
    let dir = written(&[
        ("c.toml", &whole(), 0o644),
        ("psk", "0x000102030405060708090a0b0c0d0e0f\n", 0o600),
    ]);
    let loaded = load(&dir.path().join("c.toml")).unwrap();
    assert_eq!(loaded.agent.peers[0].psk.len(), 16);
    assert!(loaded.warnings.is_empty());
}

#[test]
fn a_psk_file_that_others_can_read_is_reported_where_it_is_named() {
    let dir = written(&[("c.toml", &whole(), 0o644), ("psk", "swordfish", 0o640)]);
    let config = dir.path().join("c.toml");
    let psk = dir.path().join("psk").display().to_string();
    assert_eq!(
        load(&config).unwrap_err().to_string(),
        format!(
            "{}:9:12: psk-file: {psk} can be read by others (mode 0640): chmod 600 {psk}",
            config.display()
        )
    );
}

#[test]
fn a_missing_psk_file_is_reported_where_it_is_named() {
    let dir = written(&[("c.toml", &whole(), 0o644)]);
    let config = dir.path().join("c.toml").display().to_string();
    assert_eq!(
        load(Path::new(&config)).unwrap_err().to_string(),
        format!(
            "{config}:9:12: psk-file: cannot open {}: No such file or directory (os error 2)",
            dir.path().join("psk").display()
        )
    );
}

#[test]
fn a_configuration_that_others_can_write_is_refused() {
    let dir = written(&[("c.toml", &whole(), 0o664), ("psk", "swordfish", 0o600)]);
    let config = dir.path().join("c.toml").display().to_string();
    assert_eq!(
        load(Path::new(&config)).unwrap_err().to_string(),
        format!("{config} can be written by others (mode 0664): chmod go-w {config}")
    );
}

#[test]
fn no_error_and_no_debug_form_shows_a_key() {
    let dir = written(&[("c.toml", &whole(), 0o644), ("psk", "0xswordfish", 0o600)]);
    let config = dir.path().join("c.toml");
    let error = load(&config).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("swordfish"));
    fs::write(dir.path().join("psk"), "swordfish").unwrap();
    let loaded = load(&config).unwrap();
    assert!(!format!("{loaded:?}").contains("swordfish"));
}

#[test]
fn a_reload_names_what_differs_and_what_needs_a_restart() {
    let old = load_text(&whole());
    let same = load_text(&format!("{}[agent]\non-stop = \"keep\"\n", whole()));
    assert_eq!(
        Difference::between(&old, &same).to_string(),
        "nothing has changed"
    );
    let new = load_text(&format!(
        "{}{}{}[agent]\non-stop = \"remove\"\nstate-dir = \"/x\"\n[ike]\nliveness = 5\n",
        whole()
            .replace("name = \"w\"", "name = \"v\"")
            .replace("\"psk\"", "\"short\""),
        proxy("n", "10.5.0.0/16", "10.2.0.0/16", "block"),
        "[[peer]]\nid = \"c\"\npsk-file = \"psk\"\nmay-protect = \"self\"\n",
    ));
    assert_eq!(
        Difference::between(&old, &new).to_string(),
        "proxy n added\nproxy v added\nproxy w removed\npeer c added\npeer gw106.example altered\n\
         agent.on-stop altered\nike altered\nagent.state-dir altered: takes effect at a restart"
    );
}
