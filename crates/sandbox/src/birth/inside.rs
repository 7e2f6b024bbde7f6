//! The newborn's side: finish the world, give up every right, start the program, then watch over the cell.
//!
//! All of this runs in a copy of the helper's memory with one thread. It must not return, must not touch what it
//! inherited, and cannot be read by the program: it is not dumpable, so the kernel keeps its memory and descriptors
//! from everybody of its own user.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use chasen_runtime::walls::{self, Wall};
use rustix::mount::MountAttrFlags;
use rustix::process::{
    DumpableBehavior, Signal, WaitOptions, set_dumpable_behavior, set_parent_process_death_signal,
};
use rustix::thread::UnshareFlags;

use super::home::failed;
use super::news::{Listener, News, Teller};
use super::program::Program;
use super::rights;
use crate::cell::{ExitStatus, Limits};
use crate::mounts::{self, harmless};
use crate::root::RootSpec;
use crate::seccomp::Filter;
use crate::sys;

/// Most that `/dev/shm` may hold; it is charged to the cell's memory like `/tmp`.
const MAX_SHARED_MEMORY: u64 = 64 << 20;

/// What the newborn needs.
pub(super) struct Inside<'a> {
    pub(super) teller: Teller,
    /// Opens when the helper has set the user mapping; and, if `is_forked`, when it is known who bears the program.
    pub(super) gate: OwnedFd,
    /// Version 1 control groups to enter.
    pub(super) entrances: Vec<File>,
    /// Whether the network namespace is new and still down.
    pub(super) own_network: bool,
    pub(super) hostname: &'a str,
    pub(super) root: &'a RootSpec,
    pub(super) limits: &'a Limits,
    pub(super) filter: &'a Filter,
    pub(super) program: Program,
    /// Whether a fork server may bear the program.
    pub(super) is_forked: bool,
}

/// What the gate says when there is no program yet.
pub(super) const NO_PROGRAM: i32 = 0;

/// Lives the newborn's life.
pub(super) fn live(mut inside: Inside<'_>) -> ! {
    close_inherited(&inside);
    let prepared = inside.finish_world().and_then(|()| inside.give_up_rights());
    let born = prepared.and_then(|()| if inside.is_forked { inside.await_program() } else { Ok(NO_PROGRAM) });
    let Inside { teller, program, .. } = inside;
    let running = match born {
        Ok(NO_PROGRAM) => start(program, &teller),
        Ok(number) => {
            teller.tell(&News::Started);
            Ok(number)
        }
        Err(reason) => Err(News::Failed(reason)),
    };
    match running {
        Ok(program) => {
            teller.tell(&News::Ended(watch(program)));
            sys::exit_now(0)
        }
        Err(news) => {
            teller.tell(&news);
            sys::exit_now(1)
        }
    }
}

/// Own descriptors go above this number, out of the way of the program's files.
const FIRST_OWN: i32 = 64;

#[allow(unsafe_code)]
fn close_inherited(inside: &Inside<'_>) {
    let mut keep: Vec<i32> = inside.program.file_numbers().collect();
    keep.extend(inside.entrances.iter().map(AsRawFd::as_raw_fd));
    keep.extend([inside.teller.0.as_raw_fd(), inside.gate.as_raw_fd()]);
    // SAFETY: this child leaves everything it inherited alone but what is kept, and ends with `exit_now`.
    unsafe { sys::close_all_but(&mut keep) };
}

impl Inside<'_> {
    /// Enters groups and user, mounts what is private, names the host.
    fn finish_world(&mut self) -> Result<(), String> {
        for mut entrance in self.entrances.drain(..) {
            entrance.write_all(b"0").map_err(failed("entering a control group"))?;
        }
        sys::unshare(UnshareFlags::NEWCGROUP).map_err(failed("hiding the groups above"))?;
        let mut byte = [0];
        match rustix::io::read(&self.gate, &mut byte) {
            Ok(1) => {}
            _ => return Err("the helper did not set the user mapping".to_owned()),
        }
        self.become_user()?;

        if walls::stand(Wall::PidNamespace) {
            let private = harmless() | MountAttrFlags::MOUNT_ATTR_NOEXEC;
            let proc = mounts::make("proc", &[], private).map_err(failed("making /proc"))?;
            mounts::attach(&proc, Path::new("/proc")).map_err(failed("mounting /proc"))?;
        }
        if walls::stand(Wall::PrivateScratch) {
            // What an image has there is part of it, and can be written like all of it.
            if self.root.image_root().is_none() {
                scratch("/tmp", self.limits.tmp_bytes)?;
            }
            scratch("/dev/shm", self.limits.tmp_bytes.min(MAX_SHARED_MEMORY))?;
        }
        rustix::system::sethostname(self.hostname.as_bytes()).map_err(failed("naming the host"))?;
        if self.own_network {
            sys::raise_loopback().map_err(failed("raising the loopback device"))?;
        }
        Ok(())
    }

    /// Says that the world is finished, and waits for what the helper says of the program.
    fn await_program(&self) -> Result<i32, String> {
        self.teller.tell(&News::Prepared);
        let mut number = [0; size_of::<i32>()];
        match rustix::io::read(&self.gate, &mut number) {
            Ok(read) if read == number.len() => Ok(i32::from_be_bytes(number)),
            _ => Err("the helper did not say who bears the program".to_owned()),
        }
    }

    /// Becomes the cell's user, still holding every right inside the cell's own user namespace.
    fn become_user(&self) -> Result<(), String> {
        rights::perform(&rights::becoming_the_user(self.root.user()))?;
        // After the change of user, which resets both.
        set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed("hiding the first process"))?;
        set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(failed("binding to the helper's life"))?;
        // The helper may have died before its death could be signalled.
        if self.teller.is_heard() { Ok(()) } else { sys::exit_now(1) }
    }

    /// Gives up every capability for good, then every system call that no program needs.
    fn give_up_rights(&self) -> Result<(), String> {
        rights::perform(&rights::giving_up(self.limits.files, self.filter)?)
    }
}

/// Mounts a private scratch folder of bounded size.
fn scratch(path: &str, bytes: u64) -> Result<(), String> {
    let mount = mounts::make_scratch(bytes, "1777", harmless()).map_err(failed(format!("making {path}")))?;
    mounts::attach(&mount, Path::new(path)).map_err(failed(format!("mounting {path}")))
}

/// Starts the program as the cell's second process; gives its number once it has been executed. `words` is told that it
/// runs, or that only its files are missing.
fn start(program: Program, words: &Teller) -> Result<i32, News> {
    let awaits_files = program.awaits_files();
    let (mut listener, teller) = Listener::pair().map_err(failed("making a pipe")).map_err(News::Failed)?;
    match sys::fork_in_cell().map_err(failed("starting the program's process")).map_err(News::Failed)? {
        None => {
            let Ok(aside) = rustix::io::fcntl_dupfd_cloexec(&teller.0, FIRST_OWN) else { sys::exit_now(1) };
            let news = program.run();
            Teller(aside).tell(&news);
            sys::exit_now(1)
        }
        Some(pid) => {
            drop(teller);
            // The program's files belong to the program alone: their other ends must see its end.
            drop(program);
            if awaits_files {
                words.tell(&News::Started);
            }
            match listener.wait_for_close() {
                Some(news @ (News::Failed(_) | News::NotExecutable(_))) => return Err(news),
                _ if awaits_files => {}
                _ => words.tell(&News::Started),
            }
            Ok(pid)
        }
    }
}

/// Collects orphans until the program ends. Returning ends every other process of the cell.
fn watch(program: i32) -> ExitStatus {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == program => {
                return match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => ExitStatus::Code(code),
                    (None, Some(signal)) => ExitStatus::Signal(signal),
                    (None, None) => ExitStatus::Lost,
                };
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return ExitStatus::Lost,
        }
    }
}
