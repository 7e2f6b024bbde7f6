//! The birth of a plain process, for [`crate::helper::Mode::InsecureProcess`]: nothing is isolated.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::process::{Signal, set_parent_process_death_signal};

use super::home::failed;
use super::isolated::Newborn;
use super::news::{Listener, News, Teller};
use super::program::Program;
use super::rights;
use crate::helper::wire::StartRequest;
use crate::insecure;
use crate::sys::{self, Fork};

/// Own descriptors go above this number, out of the way of the program's files.
const FIRST_OWN: i32 = 64;

/// Starts a plain process in a session of its own, with its scratch folders made.
///
/// # Errors
/// The step that failed on the helper's side; what fails in the child is told by it.
pub(crate) fn bear(
    scratch_dir: &Path,
    request: &StartRequest,
    files: Vec<OwnedFd>,
) -> Result<Newborn, String> {
    let tmp = insecure::tmp_folder(scratch_dir, &request.name);
    let action = insecure::action_folder(scratch_dir, &request.name);
    for folder in [&tmp, &action] {
        fs::create_dir_all(folder).map_err(failed(format!("making {}", folder.display())))?;
    }
    let mut env = request.env.clone();
    if !env.iter().any(|(name, _)| name == "TMPDIR") {
        env.push(("TMPDIR".to_owned(), tmp.display().to_string()));
    }
    let program = Program::new(&request.argv, &env, &request.cwd, files)?;
    let (listener, teller) = Listener::pair().map_err(failed("making a pipe"))?;
    match sys::fork(0, None).map_err(failed("making the process"))? {
        Fork::Child => live(&teller, request.limits.files, program),
        Fork::Parent { pid, pidfd } => Ok(Newborn { pid, pidfd, listener, mounts: None, gate: None }),
    }
}

/// The child's few steps up to the program. The program's start is told by the pipe's closing.
#[allow(unsafe_code)]
fn live(teller: &Teller, files: u64, program: Program) -> ! {
    let Ok(aside) = rustix::io::fcntl_dupfd_cloexec(&teller.0, FIRST_OWN) else { sys::exit_now(1) };
    let mut keep: Vec<i32> = program.file_numbers().collect();
    keep.extend([aside.as_raw_fd(), teller.0.as_raw_fd()]);
    // SAFETY: this child leaves everything it inherited alone but what is kept, and ends with `exit_now` or `exec`.
    unsafe { sys::close_all_but(&mut keep) };
    let bound =
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(failed("binding to the helper's life"));
    if !teller.is_heard() {
        sys::exit_now(1);
    }
    let ready = bound
        .and_then(|()| rustix::process::setsid().map(|_| ()).map_err(failed("making a session")))
        .and_then(|()| rights::perform(&rights::limiting_resources(files)));
    let news = match ready {
        Ok(()) => program.run(),
        Err(reason) => News::Failed(reason),
    };
    Teller(aside).tell(&news);
    sys::exit_now(1)
}
