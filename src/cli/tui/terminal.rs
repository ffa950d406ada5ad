//! The thin end: keyboard, screen, signals and the control socket. Decides nothing.
//!
//! Every source of inputs has a thread that may block. The terminal is restored when the loop ends,
//! by ratatui's hook when something panics, and after SIGHUP, SIGINT, SIGQUIT and SIGTERM, which a
//! thread waits for.

use super::{Action, App, Input, Key, Purpose, view};
use crate::control::client::ClientError;
use crate::control::{Client, Request};
use nix::sys::signal::{SigSet, Signal, raise};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};
use std::{io, iter};

const TICK: Duration = Duration::from_millis(500);
/// Between attempts to reach an agent that has gone.
const PAUSE: Duration = Duration::from_secs(1);
/// Inputs that wait; whoever has more waits too.
const WAITING: usize = 256;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("cannot use the terminal: {0}")]
    Terminal(#[source] io::Error),
    #[error("cannot wait for signals: {0}")]
    Signals(#[source] nix::Error),
}

enum Told {
    Input(Input),
    Signal(Signal),
    /// Size or contents of the screen are not what they were.
    Redraw,
    NoKeyboard(io::Error),
}

enum End {
    Quit,
    Signal(Signal),
}

/// Until the user has had enough. Fails at once where no agent listens.
pub fn run(socket: &Path) -> Result<(), Error> {
    Client::connect(socket)?;
    let signals = SigSet::from_iter([
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
    ]);
    // Before any thread begins, for they inherit it.
    signals.thread_block().map_err(Error::Signals)?;
    let mut terminal = ratatui::try_init().map_err(Error::Terminal)?;
    let (tell, told) = sync_channel(WAITING);
    await_signal(signals, tell.clone());
    read_keys(tell.clone());
    follow_events(socket.to_owned(), tell.clone());
    let end = converse(&mut terminal, socket, &tell, &told);
    let restored = ratatui::try_restore().map_err(Error::Terminal);
    match end? {
        End::Quit => restored,
        End::Signal(signal) => {
            restored?;
            // What it would have done to us.
            signals.thread_unblock().map_err(Error::Signals)?;
            raise(signal).map_err(Error::Signals)
        }
    }
}

fn converse(
    terminal: &mut DefaultTerminal,
    socket: &Path,
    tell: &SyncSender<Told>,
    told: &Receiver<Told>,
) -> Result<End, Error> {
    let mut app = App::new(jiff::tz::TimeZone::system());
    let mut tick = Instant::now() + TICK;
    loop {
        terminal
            .draw(|frame| view(&app, frame))
            .map_err(Error::Terminal)?;
        let first = match told.recv_timeout(tick.saturating_duration_since(Instant::now())) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => {
                tick = Instant::now() + TICK;
                Told::Input(Input::Tick)
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(End::Quit),
        };
        // Of what came at once, only the outcome is drawn.
        for told in iter::once(first).chain(told.try_iter().take(WAITING)) {
            let input = match told {
                Told::Input(input) => input,
                Told::Redraw => continue,
                Told::Signal(signal) => return Ok(End::Signal(signal)),
                Told::NoKeyboard(error) => return Err(Error::Terminal(error)),
            };
            for action in app.update(input) {
                match action {
                    Action::Quit => return Ok(End::Quit),
                    Action::Call(purpose, request) => call(socket, purpose, request, tell.clone()),
                }
            }
        }
    }
}

/// An answer may take as long as a peer does; the screen does not wait for it.
fn call(socket: &Path, purpose: Purpose, request: Request, tell: SyncSender<Told>) {
    let socket = socket.to_owned();
    thread::spawn(move || {
        let answer = Client::connect(&socket).and_then(|client| client.call(&request));
        let answer = Box::new(answer.map_err(|error| error.to_string()));
        let _ = tell.send(Told::Input(Input::Answered(purpose, answer)));
    });
}

fn await_signal(signals: SigSet, tell: SyncSender<Told>) {
    thread::spawn(move || {
        if let Ok(signal) = signals.wait() {
            let _ = tell.send(Told::Signal(signal));
        }
    });
}

fn read_keys(tell: SyncSender<Told>) {
    thread::spawn(move || {
        loop {
            let told = match event::read() {
                Ok(Event::Key(event)) => match key(event) {
                    Some(key) => Told::Input(Input::Key(key)),
                    None => continue,
                },
                Ok(Event::Resize(..)) => Told::Redraw,
                Ok(_) => continue,
                Err(error) => {
                    let _ = tell.send(Told::NoKeyboard(error));
                    return;
                }
            };
            if tell.send(told).is_err() {
                return;
            }
        }
    });
}

fn key(event: KeyEvent) -> Option<Key> {
    if event.kind == KeyEventKind::Release {
        return None;
    }
    let control = event.modifiers.contains(KeyModifiers::CONTROL);
    Some(match event.code {
        KeyCode::Char('c') if control => Key::Interrupt,
        KeyCode::Char(_) if control || event.modifiers.contains(KeyModifiers::ALT) => return None,
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Tab => Key::Tab,
        KeyCode::BackTab => Key::BackTab,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Delete => Key::Delete,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        _ => return None,
    })
}

/// Any event may mean that a list is old.
fn follow_events(socket: PathBuf, tell: SyncSender<Told>) {
    thread::spawn(move || {
        loop {
            let reason = match Client::connect(&socket).and_then(Client::events) {
                Ok(events) => {
                    if tell.send(Told::Input(Input::Connected)).is_err() {
                        return;
                    }
                    let mut reason = "the agent has ended".to_owned();
                    for event in events {
                        match event {
                            Ok(_) if tell.send(Told::Input(Input::Changed)).is_err() => return,
                            Ok(_) => {}
                            Err(error) => reason = error.to_string(),
                        }
                    }
                    reason
                }
                Err(error) => error.to_string(),
            };
            if tell.send(Told::Input(Input::Gone(reason))).is_err() {
                return;
            }
            thread::sleep(PAUSE);
        }
    });
}
