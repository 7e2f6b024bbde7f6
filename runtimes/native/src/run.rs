//! One run: a fresh process, its arguments in, its lines out, nothing of it left behind.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, kill_process, kill_process_group, pidfd_open, wait,
};

use crate::last_line::{LastLine, Line};

/// Longest text of one argument, without the zero at its end; the kernel's rule.
const MAX_ARGUMENT: usize = 131_071;
/// How often, a millisecond apart, the remains of a run are looked for.
const CLEANING_ROUNDS: u32 = 1000;

/// Runs `program` in `folder` and waits until it and everything it started has ended.
/// Lines but the last go to `log`; at most `keep` bytes of a line are kept.
///
/// # Errors
/// `Err` of the outer result: the launcher cannot go on. Of the inner one: the program cannot be started.
pub(crate) fn run(
    program: &Path,
    folder: &Path,
    arguments: &[u8],
    env: &[(String, String)],
    log: impl Write,
    keep: usize,
) -> io::Result<Result<Option<Line>, io::Error>> {
    let mut command = Command::new(program);
    if arguments.len() <= MAX_ARGUMENT {
        use std::os::unix::ffi::OsStrExt;
        command.arg(std::ffi::OsStr::from_bytes(arguments));
    }
    command.current_dir(folder).env("PWD", folder).envs(env.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Ok(Err(error)),
    };
    let mut conversation = Conversation {
        stdin: child.stdin.take(),
        stdout: child.stdout.take(),
        unsent: arguments,
        lines: LastLine::new(log, keep),
        buffer: vec![0; 64 * 1024],
    };
    let spoken = conversation.until_exit(&child);
    end_all(&mut child)?;
    spoken?;
    // Nobody is left to write: this comes to an end.
    while conversation.stdout.is_some() {
        conversation.read()?;
    }
    conversation.lines.finish().map(Ok)
}

/// A running process's standard input and output.
struct Conversation<'a, W> {
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    unsent: &'a [u8],
    lines: LastLine<W>,
    buffer: Vec<u8>,
}

impl<W: Write> Conversation<'_, W> {
    /// Feeds the process and reads from it until it has ended.
    fn until_exit(&mut self, child: &Child) -> io::Result<()> {
        let pidfd = pidfd_open(pid_of(child)?, PidfdFlags::empty())?;
        if let Some(stdin) = &self.stdin {
            rustix::io::ioctl_fionbio(stdin, true)?;
        }
        loop {
            let [mut exited, mut readable, mut writable] = [false; 3];
            {
                let mut fds = vec![(PollFd::new(&pidfd, PollFlags::IN), &mut exited)];
                fds.extend(self.stdout.as_ref().map(|fd| (PollFd::new(fd, PollFlags::IN), &mut readable)));
                fds.extend(self.stdin.as_ref().map(|fd| (PollFd::new(fd, PollFlags::OUT), &mut writable)));
                let (mut polled, flags): (Vec<PollFd<'_>>, Vec<&mut bool>) = fds.into_iter().unzip();
                match poll(&mut polled, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
                for (fd, flag) in polled.iter().zip(flags) {
                    *flag = !fd.revents().is_empty();
                }
            }
            if readable {
                self.read()?;
            }
            if writable {
                self.write();
            }
            if exited {
                return Ok(());
            }
        }
    }

    fn read(&mut self) -> io::Result<()> {
        let Some(stdout) = &mut self.stdout else { return Ok(()) };
        match stdout.read(&mut self.buffer) {
            Ok(0) => self.stdout = None,
            Ok(count) => self.lines.feed(self.buffer.get(..count).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn write(&mut self) {
        let Some(stdin) = &mut self.stdin else { return };
        match stdin.write(self.unsent) {
            Ok(count) => self.unsent = self.unsent.get(count..).unwrap_or_default(),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return;
            }
            // It does not want to read: its right.
            Err(_) => self.unsent = &[],
        }
        if self.unsent.is_empty() {
            self.stdin = None;
        }
    }
}

/// Ends the process, its group, and whatever left the group: as their subreaper, this process becomes the parent of
/// all that lose theirs.
fn end_all(child: &mut Child) -> io::Result<()> {
    // The number is its own, and its group's, until it is waited for. The group may have ended by itself.
    let _ = kill_process_group(pid_of(child)?, Signal::KILL);
    child.wait()?;
    for _ in 0..CLEANING_ROUNDS {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(Errno::CHILD) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        for orphan in children()? {
            // It may have ended by itself.
            let _ = kill_process(orphan, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(io::Error::other("a run left processes behind that cannot be ended"))
}

fn pid_of(child: &Child) -> io::Result<Pid> {
    i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::other("a process without a number"))
}

/// The children of this process, those included that it took in.
///
/// # Errors
/// When there is no `/proc`.
pub fn children() -> io::Result<Vec<Pid>> {
    let own = getpid().as_raw_nonzero().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw)
        else {
            continue;
        };
        // number (name) state parent …; the name may hold anything.
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(1));
        if parent == Some(own.as_str()) {
            found.push(pid);
        }
    }
    Ok(found)
}
