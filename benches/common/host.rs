//! Hosts of a bench: network namespaces, and what is run in them.

use nix::sched::{CloneFlags, unshare};
use std::process::Command;
use std::sync::mpsc;

/// A thread in a network namespace of its own, which ends with it.
pub struct Host {
    jobs: mpsc::Sender<Box<dyn FnOnce() + Send>>,
    /// Stands for its namespace.
    pub thread: nix::unistd::Pid,
}

impl Host {
    pub fn new() -> Self {
        let (jobs, queue) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (told, thread) = mpsc::channel();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
            ip("link set lo up");
            told.send(nix::unistd::gettid()).expect("it waits");
            for job in queue {
                job();
            }
        });
        let thread = thread.recv().expect("a thread");
        Self { jobs, thread }
    }

    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        let job = Box::new(move || done.send(job()).expect("it waits"));
        self.jobs.send(job).expect("the host lives");
        result.recv().expect("the job ends")
    }
}

pub fn ip(arguments: &str) {
    command("ip", arguments);
}

pub fn command(program: &str, arguments: &str) {
    let output = Command::new(program)
        .args(arguments.split_whitespace())
        .output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments}: {said}");
}
