//! The screens of the figures, and what becomes of what is typed there.
//!
//! Screens are compared with the files in `screens`; where one is meant to change, run the tests
//! with `WRITE_SCREENS=1` and read what has changed.

use super::*;
use crate::agent::presence::commands::{Ask, AskReport, PolicyCommand, PresenceCommand, Told};
use crate::cli::figures::{
    believed, bob_outside, entry, john_in_the_office, record, row_for_bob, row_for_john,
};
use crate::presence::exchange::Refusal;
use crate::presence::{Presence, Row, Source};
use jiff::tz::TimeZone;
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

fn app() -> App {
    let mut app = App::new(TimeZone::UTC);
    app.update(Input::Connected);
    answer(
        &mut app,
        Purpose::Presence,
        Response::Presence(vec![
            believed(john_in_the_office()),
            believed(bob_outside()),
        ]),
    );
    let mut john = entry(None, row_for_john(), "rule 2: location office");
    john.entity = Some(john_in_the_office().entity);
    let mut bob = entry(Some(3), row_for_bob(), "registered");
    bob.entity = Some(bob_outside().entity);
    bob.kernel = Some("dir out priority 16100 tmpl proto esp level required".into());
    answer(
        &mut app,
        Purpose::Policies,
        Response::Policies(vec![john, bob]),
    );
    app
}

fn answer(app: &mut App, purpose: Purpose, response: Response) {
    let actions = app.update(Input::Answered(purpose, Box::new(Ok(response))));
    assert_eq!(actions, []);
}

fn fail(app: &mut App, purpose: Purpose, reason: &str) {
    app.update(Input::Answered(purpose, Box::new(Err(reason.into()))));
}

/// Characters as they are, `⇥` Tab, `⏎` Enter, `⎋` Escape, arrows.
fn press(app: &mut App, keys: &str) -> Vec<Action> {
    let keys = keys.chars().map(|c| match c {
        '⇥' => Key::Tab,
        '⇤' => Key::BackTab,
        '⏎' => Key::Enter,
        '⎋' => Key::Escape,
        '←' => Key::Left,
        '→' => Key::Right,
        '↓' => Key::Down,
        '⌫' => Key::Backspace,
        '⇟' => Key::PageDown,
        c => Key::Char(c),
    });
    keys.flat_map(|key| app.update(Input::Key(key))).collect()
}

fn screen_of(app: &App, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view(app, frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let lines = buffer.content().chunks(usize::from(width)).map(|cells| {
        let line: String = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
        line.trim_end().to_owned() + "\n"
    });
    lines.collect()
}

fn screen(app: &App) -> String {
    screen_of(app, 80, 24)
}

#[track_caller]
fn assert_screen(app: &App, name: &str) {
    let path = format!(
        "{}/src/cli/tui/screens/{name}.txt",
        env!("CARGO_MANIFEST_DIR")
    );
    let shown = screen(app);
    if std::env::var_os("WRITE_SCREENS").is_some() {
        std::fs::write(&path, &shown).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(shown == expected, "{name} is not as stored:\n{shown}");
}

fn report(policy: Option<Told<Vec<Row>>>, presence: Option<Told<Presence>>) -> Response {
    Response::Asked(AskReport {
        address: "192.168.1.2".parse().unwrap(),
        peer: "john.example".into(),
        policy,
        more: false,
        presence,
    })
}

fn register(row: Row) -> Action {
    Action::Call(
        Purpose::Register,
        Request::Policy(PolicyCommand::Register(row)),
    )
}

#[test]
fn both_databases_stand_on_one_screen() {
    let mut app = app();
    assert_screen(&app, "databases");
    press(&mut app, "⇥↓");
    assert_screen(&app, "databases-policy");
    assert!(screen_of(&app, 120, 30).contains("END POINT"));
}

#[test]
fn the_request_of_figure_4_is_typed_and_sent() {
    let mut app = App::new(TimeZone::UTC);
    press(&mut app, "r192.168.1.2");
    assert_screen(&app, "fig-4");
    let ask = Ask {
        address: "192.168.1.2".parse().unwrap(),
        policy: true,
        presence: true,
    };
    assert_eq!(
        press(&mut app, "⇥⇥⇥⏎"),
        [Action::Call(Purpose::Ask, Request::Ask(ask))]
    );
    assert!(screen(&app).contains("asking 192.168.1.2"));
}

#[test]
fn a_request_without_a_peer_or_a_question_is_refused() {
    let mut app = App::new(TimeZone::UTC);
    assert_eq!(press(&mut app, "r⇥⇥⇥⏎"), []);
    assert!(screen(&app).contains("type the address of the peer"));
    assert_eq!(press(&mut app, "⇤⇤⇤192.168.1⇥ ⇥ ⇥⏎"), []);
    assert!(screen(&app).contains("192.168.1 is not an address yet"));
    assert_eq!(press(&mut app, "⇤⇤⇤.2⇥⇥⇥⏎"), []);
    assert!(screen(&app).contains("tick what to ask for"));
    assert_eq!(press(&mut app, "⇥⏎"), []);
    assert!(!screen(&app).contains("POLICY REQUEST"));
}

#[test]
fn an_answer_leads_through_figure_9_to_figure_8() {
    let mut app = App::new(TimeZone::UTC);
    // The peer tells both directions as it sees them.
    let theirs = row_for_john();
    let inbound = Row {
        direction: crate::presence::row::Direction::In,
        ..theirs.clone()
    };
    let rows = vec![inbound.clone(), inbound.mirrored()];
    let told = report(
        Some(Told::Granted(rows)),
        Some(Told::Granted(john_in_the_office())),
    );
    answer(&mut app, Purpose::Ask, told);
    assert_screen(&app, "fig-9");
    assert_eq!(press(&mut app, "⏎"), []);
    assert_screen(&app, "fig-8");
    assert_eq!(press(&mut app, "⇤⇤⏎"), [register(row_for_john())]);
    assert_eq!(press(&mut app, "⏎"), [], "it is under way");
    answer(&mut app, Purpose::Register, Response::Registered(4));
    assert!(screen(&app).contains("registered as number 4"));
    assert!(!screen(&app).contains("POLICY INFORMATION"));
}

#[test]
fn figure_11_leads_to_what_is_proposed() {
    let mut app = App::new(TimeZone::UTC);
    answer(
        &mut app,
        Purpose::Ask,
        report(None, Some(Told::Granted(bob_outside()))),
    );
    assert_screen(&app, "fig-11");
    let propose = Request::Policy(PolicyCommand::Propose(bob_outside().entity));
    assert_eq!(
        press(&mut app, "⏎"),
        [Action::Call(Purpose::Propose, propose)]
    );
    let rows = vec![entry(None, row_for_bob(), "rule 1: location external")];
    answer(&mut app, Purpose::Propose, Response::Policies(rows));
    assert_screen(&app, "fig-13");
    assert_eq!(press(&mut app, "⇤⇤⏎"), [register(row_for_bob())]);
}

#[test]
fn the_blank_form_of_figure_12_becomes_figure_13_key_by_key() {
    let mut app = App::new(TimeZone::UTC);
    press(&mut app, "n");
    assert_screen(&app, "fig-12");
    press(&mut app, "192.168.1.1⇥⇥⇥133.134.10.10⇥⇥⇥⇥⇥→ ");
    assert!(screen(&app).contains("ipsec needs ah, esp or both"));
    press(&mut app, "⇥ → ⇥⇥→→ ");
    let row = Row {
        mode: None,
        ..row_for_bob()
    };
    assert_eq!(press(&mut app, "⇥⏎"), [register(row)]);
}

#[test]
fn what_makes_no_sense_is_refused_with_the_reason() {
    let mut app = App::new(TimeZone::UTC);
    let rows = vec![entry(None, row_for_bob(), "external")];
    answer(&mut app, Purpose::Propose, Response::Policies(rows));
    // ipcomp: from the source over ports, any, …, to the third protocol.
    press(&mut app, "⇥⇥⇥⇥⇥⇥⇥⇥⇥→→ ");
    assert!(screen(&app).contains("☒ ah  ☒ esp  ☒ ipcomp"));
    // Alone it protects nothing.
    press(&mut app, "← ← ");
    assert!(screen(&app).contains("ipcomp compresses and protects nothing"));
    press(&mut app, " → → ");
    assert!(screen(&app).contains("☐ ipcomp"));
    // A tunnel needs its end point, and then cannot be optional.
    press(&mut app, "⇥→ ");
    assert!(screen(&app).contains("a tunnel needs the address of its end point"));
    press(&mut app, "⇥192.0.2.1⇥← ");
    assert!(screen(&app).contains("the kernel refuses an outbound tunnel at level use"));
    assert!(screen(&app).contains("☐ use  ☒ require"));
    // Transport again: the end point does not count any more.
    press(&mut app, "⇤⇤← ");
    let row = Row {
        mode: Some(crate::presence::row::Mode::Transport),
        ..row_for_bob()
    };
    assert_eq!(press(&mut app, "⇥⇥⏎"), [register(row)]);
}

#[test]
fn a_form_that_is_not_complete_is_not_registered() {
    let mut app = App::new(TimeZone::UTC);
    assert_eq!(press(&mut app, "n192.168.1.1⇤⇤⏎"), []);
    assert!(screen(&app).contains("not registered: type an address or a prefix"));
    assert_eq!(
        press(&mut app, "192.168.1.2⇥9x"),
        [],
        "the cursor was taken there"
    );
    assert!(screen(&app).contains("a port is a number from 1 to 65535"));
    assert!(screen(&app).contains("PORT: [9    ] ☐ any"));
    press(&mut app, "⇥ ");
    assert!(screen(&app).contains("PORT: [     ] ☒ any"));
    assert_eq!(press(&mut app, "⇤⇤⇤⇤⇤⇤⇤⏎"), [register(row_for_john())]);
    fail(
        &mut app,
        Purpose::Register,
        "only root may policy register: try sudo",
    );
    assert!(screen(&app).contains("only root may"));
    assert!(
        screen(&app).contains("POLICY INFORMATION"),
        "what was typed is kept"
    );
    press(&mut app, "⎋");
    assert!(!screen(&app).contains("POLICY INFORMATION"));
}

#[test]
fn several_rows_are_judged_one_after_the_other() {
    let mut app = App::new(TimeZone::UTC);
    let told = report(
        Some(Told::Granted(vec![row_for_john(), {
            let mut row = row_for_john();
            row.transport = crate::net::Protocol::Is(132);
            row
        }])),
        None,
    );
    answer(&mut app, Purpose::Ask, told);
    assert!(screen(&app).contains("POLICY INFORMATION (1 of 2)"));
    press(&mut app, "⇟");
    assert!(screen(&app).contains("(2 of 2)") && screen(&app).contains("☒ sctp"));
}

#[test]
fn a_refusal_says_whose_and_of_what() {
    for (policy, presence, what) in [
        (Some(Told::Refused(Refusal::NotAllowed)), None, "policy"),
        (None, Some(Told::Refused(Refusal::NotAllowed)), "presence"),
    ] {
        let mut app = app();
        answer(&mut app, Purpose::Ask, report(policy, presence));
        let why = Refusal::NotAllowed;
        let text = format!("john.example does not tell its {what} ({why})");
        assert!(screen(&app).contains(&text), "{}", screen(&app));
    }
}

#[test]
fn only_a_registered_row_is_removed_and_only_after_a_question() {
    let mut app = app();
    press(&mut app, "⇥d");
    assert!(screen(&app).contains("only a registered row"));
    assert_eq!(press(&mut app, "↓d⏎"), [], "the question begins at CANCEL");
    let remove = Request::Policy(PolicyCommand::Remove(3));
    assert_eq!(
        press(&mut app, "d⇥⏎"),
        [Action::Call(Purpose::Remove, remove)]
    );
}

#[test]
fn the_lists_follow_events_with_measure() {
    let mut app = App::new(TimeZone::UTC);
    let lists = [
        Action::Call(Purpose::Presence, Request::Presence(PresenceCommand::List)),
        Action::Call(Purpose::Policies, Request::Policy(PolicyCommand::List)),
    ];
    assert_eq!(app.update(Input::Connected), lists);
    assert_eq!(app.update(Input::Changed), []);
    assert_eq!(app.update(Input::Tick), [], "two answers are still to come");
    answer(&mut app, Purpose::Presence, Response::Presence(Vec::new()));
    fail(&mut app, Purpose::Policies, "presence is not configured");
    assert!(screen(&app).contains("presence is not configured"));
    assert_eq!(app.update(Input::Tick), lists, "it changed meanwhile");
    let many = vec![believed(bob_outside()); 10_000];
    answer(&mut app, Purpose::Presence, Response::Presence(many));
    answer(&mut app, Purpose::Policies, Response::Policies(Vec::new()));
    app.update(Input::Changed);
    assert_eq!(app.update(Input::Tick), [], "a long list rests");
    assert_eq!(app.update(Input::Tick), lists);
    assert_eq!(app.update(Input::Tick), [], "nothing happened");
}

#[test]
fn an_agent_that_goes_and_comes_back_is_noticed() {
    let mut app = app();
    app.update(Input::Gone("is xfrm-agent running?".into()));
    assert!(screen(&app).contains("what is shown is old: is xfrm-agent running?"));
    assert_eq!(app.update(Input::Connected).len(), 2);
    assert!(!screen(&app).contains("what is shown is old"));
}

#[test]
fn nothing_that_was_received_reaches_the_terminal_as_more_than_text() {
    const BAD: &str = "a\x1b[2Jb\u{9b}31m\r\n\u{202e}c\x07";
    let harmless = |app: &App| {
        let text = screen(app);
        let hazard = text.chars().find(|c| {
            (c.is_control() && *c != '\n') || crate::presence::names::changes_direction(*c)
        });
        assert_eq!(hazard, None, "{text:?}");
        text
    };
    let mut app = app();
    let mut john = believed(john_in_the_office());
    john.believed = Some(record(john_in_the_office()));
    if let Some(record) = &mut john.believed {
        record.authenticity = crate::presence::Authenticity::Authenticated(BAD.into());
        record.source = Source::Peer;
    }
    answer(&mut app, Purpose::Presence, Response::Presence(vec![john]));
    assert!(harmless(&app).contains(r"a\u{1b}[2Jb"));
    press(&mut app, "⏎");
    assert!(harmless(&app).contains(r"a\u{1b}[2Jb"));
    press(&mut app, "⎋⇥");
    let mut row = entry(None, row_for_bob(), BAD);
    row.kernel = Some(BAD.into());
    answer(
        &mut app,
        Purpose::Policies,
        Response::Policies(vec![row.clone()]),
    );
    assert_eq!(harmless(&app).matches(r"a\u{1b}[2Jb").count(), 2);
    answer(&mut app, Purpose::Propose, Response::Policies(vec![row]));
    assert!(harmless(&app).contains(r"a\u{1b}[2Jb"));
    press(&mut app, "⎋");
    let refused = Response::Asked(AskReport {
        address: "192.0.2.1".parse().unwrap(),
        peer: BAD.into(),
        policy: Some(Told::Refused(Refusal::NotAllowed)),
        more: false,
        presence: None,
    });
    answer(&mut app, Purpose::Ask, refused);
    assert!(harmless(&app).contains(r"a\u{1b}[2Jb"));
    fail(&mut app, Purpose::Remove, BAD);
    assert!(harmless(&app).contains(r"a\u{1b}[2Jb"));
    app.update(Input::Gone(BAD.into()));
    assert!(harmless(&app).contains(r"a\u{1b}[2Jb"));
}

#[test]
fn wide_and_long_names_stay_inside_their_frames() {
    let mut presence = bob_outside();
    presence.entity = format!("{}@example.com", "x".repeat(240)).parse().unwrap();
    presence.user = Some("中".repeat(42).parse().unwrap());
    presence.addresses = vec!["2001:db8:1111:1111:1111:1111:1111:1111".parse().unwrap(); 8];
    let mut app = App::new(TimeZone::UTC);
    answer(
        &mut app,
        Purpose::Presence,
        Response::Presence(vec![believed(presence)]),
    );
    press(&mut app, "⏎");
    assert_screen(&app, "long-names");
}

#[test]
fn control_and_c_ends_it_wherever_one_is() {
    for keys in ["", "r", "n192", "⏎"] {
        let mut app = app();
        press(&mut app, keys);
        assert_eq!(app.update(Input::Key(Key::Interrupt)), [Action::Quit]);
    }
    assert_eq!(press(&mut app(), "q"), [Action::Quit]);
    assert_eq!(press(&mut app(), "nq"), [], "there it is a letter");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is typed, at whatever size: no panic, and only complete rows are registered.
    #[test]
    fn any_keys_at_any_size(
        keys in "[a-z0-9:./ ⇥⇤⏎⎋←→↓⌫⇟]{0,40}", width in 1u16..120, height in 1u16..40,
    ) {
        let mut app = app();
        for action in press(&mut app, &keys) {
            if let Action::Call(_, Request::Policy(PolicyCommand::Register(row))) = action {
                prop_assert_eq!(row.problems(), []);
            }
        }
        screen_of(&app, width, height);
    }
}
