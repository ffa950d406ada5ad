//! Runs the commands that the agent wants run: never through a shell, each in a process group of its own and for
//! a limited time.

use super::charon;
use crate::agent::event::Event;
use crate::agent::vpn::commands::{Charon, Command, Ended, Program, Run};
use crate::config::trusted;
use crate::kernel::timer::timeout;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;

/// All that a command knows besides what the agent tells it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Of what a command says, the end is kept.
const MOST_OUTPUT: usize = 16 << 10;
/// What it has left running may hold its output open: nothing more is waited for.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Of its last line of complaint.
const MOST_COMPLAINT: usize = 200;

#[derive(Debug)]
pub struct Commands {
    told: UnboundedSender<Event>,
    running: BTreeMap<Run, AbortHandle>,
}

impl Commands {
    /// Tells how commands end.
    pub fn new(told: UnboundedSender<Event>) -> Self {
        Self {
            told,
            running: BTreeMap::new(),
        }
    }

    pub fn run(&mut self, run: Run, command: Command) {
        self.running.retain(|_, task| !task.is_finished());
        let told = self.told.clone();
        let task = tokio::task::spawn_local(async move {
            let ended = match &command {
                Command::Program(program) => ended(program).await,
                Command::Charon(charon) => return follow(run, charon, &told).await,
            };
            // The agent ends, where nobody hears it.
            let _ = told.send(Event::CommandEnded { run, ended });
        });
        self.running.insert(run, task.abort_handle());
    }

    pub fn stop(&mut self, run: Run) {
        if let Some(task) = self.running.remove(&run) {
            task.abort();
        }
    }
}

/// Until it has gone, or is stopped.
async fn follow(run: Run, charon: &Charon, told: &UnboundedSender<Event>) {
    let (ended, following) = match charon::run(charon).await {
        Ok((said, following)) => (Ok(said), following),
        Err(reason) => (Err(reason), None),
    };
    let mut is_heard = told.send(Event::CommandEnded { run, ended }).is_ok();
    let Some(mut following) = following else {
        return;
    };
    while is_heard {
        let says = following.next().await;
        let is_over = says.is_err();
        is_heard = told.send(Event::VpnSays { run, says }).is_ok() && !is_over;
    }
}

/// Killed as a whole when it is dropped before its leader was waited for, so that its number is still its own.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &process::Child) -> Self {
        let leader = child.id().and_then(|id| i32::try_from(id).ok());
        Self(leader.map(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0
            && let Err(error) = killpg(group, Signal::SIGKILL)
        {
            tracing::warn!(%error, %group, "a command that takes too long was not killed");
        }
    }
}

async fn ended(command: &Program) -> Ended {
    let program = command.words.first().map_or("", String::as_str);
    trusted::check_program(Path::new(program)).map_err(|error| error.to_string())?;
    let mut child = process::Command::new(program)
        .args(&command.words[1..])
        .env_clear()
        .env("PATH", PATH)
        .envs(
            command
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{program} cannot be run: {error}"))?;
    let mut group = Group::of(&child);
    let (output, complaint) = (Tail::default(), Tail::default());
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let reading = async { tokio::join!(output.read(out), complaint.read(err)) };
    tokio::pin!(reading);
    let waited = timeout(command.limit, async {
        tokio::select! {
            status = child.wait() => (status, false),
            _ = &mut reading => (child.wait().await, true),
        }
    });
    let (status, has_read_all) = match waited.await {
        Ok(ended) => ended,
        Err(error) => {
            drop(group);
            let limit = command.limit.as_secs();
            return Err(match error.kind() {
                io::ErrorKind::TimedOut => {
                    format!("{program} took more than {limit}s and was killed")
                }
                _ => format!(
                    "{program} was killed, since nothing can tell how long it takes: {error}"
                ),
            });
        }
    };
    // What it has left running goes on.
    group.0 = None;
    if !has_read_all {
        let _ = timeout(LAST_WORDS, reading).await;
    }
    judged(program, status, &complaint)?;
    Ok(output.text())
}

fn judged(program: &str, status: io::Result<ExitStatus>, complaint: &Tail) -> Result<(), String> {
    let status = status.map_err(|error| format!("{program} was lost: {error}"))?;
    if status.success() {
        return Ok(());
    }
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("{program} ended with status {code}"),
        (None, Some(signal)) => format!("{program} was ended by signal {signal}"),
        (None, None) => format!("{program} failed"),
    };
    let text = complaint.text();
    let last = text
        .lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty());
    Err(match last {
        Some(line) => {
            let line: String = line
                .chars()
                .filter(|c| !c.is_control())
                .take(MOST_COMPLAINT)
                .collect();
            format!("{how}: {line}")
        }
        None => how,
    })
}

/// The end of what a command has said so far.
#[derive(Clone, Default)]
struct Tail(Rc<RefCell<Vec<u8>>>);

impl Tail {
    /// Until nobody holds the other end any more.
    async fn read(&self, pipe: Option<impl AsyncRead + Unpin>) {
        let Some(mut pipe) = pipe else { return };
        let mut buffer = [0; 4096];
        while let Ok(len @ 1..) = pipe.read(&mut buffer).await {
            let mut tail = self.0.borrow_mut();
            tail.extend_from_slice(&buffer[..len]);
            let surplus = tail.len().saturating_sub(MOST_OUTPUT);
            tail.drain(..surplus);
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.borrow()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;
    use tokio::sync::mpsc::unbounded_channel;
    use tokio::task::LocalSet;

    fn shell(script: &str, limit: Duration) -> Program {
        Program {
            words: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            environment: vec![("XFRM_AGENT_LOCAL", "198.51.100.5".to_owned())],
            limit,
        }
    }

    async fn run(script: &str) -> Ended {
        ended(&shell(script, Duration::from_secs(20))).await
    }

    #[tokio::test]
    async fn a_command_has_a_clean_environment_and_says_what_it_found() {
        let output = run("echo $XFRM_AGENT_LOCAL; env | grep -c CARGO; pwd").await;
        assert_eq!(output, Ok("198.51.100.5\n0\n/\n".to_owned()));
    }

    #[tokio::test]
    async fn a_failure_has_its_status_and_the_last_complaint() {
        let failed = run("echo no; echo dialling >&2; echo busy >&2; exit 3").await;
        assert_eq!(failed, Err("/bin/sh ended with status 3: busy".to_owned()));
        let killed = run("kill -9 $$").await;
        assert_eq!(killed, Err("/bin/sh was ended by signal 9".to_owned()));
        let missing = Program {
            words: vec!["/nonexistent/up".to_owned()],
            ..shell("", Duration::from_secs(1))
        };
        assert!(
            ended(&missing)
                .await
                .unwrap_err()
                .starts_with("cannot open /nonexistent/up")
        );
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_killed_with_all_that_it_has_started() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("alive");
        let script = format!("(sleep 1; echo > {}) & sleep 60", file.display());
        let hung = ended(&shell(&script, Duration::from_millis(100))).await;
        assert_eq!(
            hung,
            Err("/bin/sh took more than 0s and was killed".to_owned())
        );
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert!(!file.exists());
    }

    #[tokio::test]
    async fn what_a_command_leaves_running_is_neither_waited_for_nor_killed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("alive");
        let began = Instant::now();
        let script = format!("echo up; (sleep 1; echo > {}) & exit 0", file.display());
        assert_eq!(run(&script).await, Ok("up\n".to_owned()));
        assert!(began.elapsed() < Duration::from_millis(900));
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert!(file.exists());
    }

    #[tokio::test]
    async fn more_output_than_anybody_reads_stops_nobody() {
        let output = run(
            "i=0; while [ $i -lt 9000 ]; do echo 'line of output'; i=$((i+1)); done; echo address 10.30.0.5",
        );
        let output = output.await.unwrap();
        assert!(output.len() <= MOST_OUTPUT && output.ends_with("address 10.30.0.5\n"));
    }

    #[tokio::test]
    async fn a_command_that_is_stopped_is_killed_and_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("alive");
        let (told, mut heard) = unbounded_channel();
        let script = format!("sleep 1; echo > {}", file.display());
        LocalSet::new()
            .run_until(async {
                let mut commands = Commands::new(told);
                commands.run(
                    Run(1),
                    Command::Program(shell(&script, Duration::from_secs(20))),
                );
                tokio::time::sleep(Duration::from_millis(200)).await;
                commands.stop(Run(1));
                commands.run(
                    Run(2),
                    Command::Program(shell("true", Duration::from_secs(20))),
                );
                let ended = heard.recv().await;
                let is_second = matches!(
                    ended,
                    Some(Event::CommandEnded {
                        run: Run(2),
                        ended: Ok(_)
                    })
                );
                assert!(is_second, "{ended:?}");
            })
            .await;
        tokio::time::sleep(Duration::from_millis(1300)).await;
        assert!(!file.exists());
    }
}
