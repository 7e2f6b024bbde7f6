//! The last steps before a program runs: its files, its signals, its folder, `exec`.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};

use super::news::News;
use crate::cell::MAX_FILES;
use crate::helper::wire;
use crate::sys;

/// What to run; owned by a fresh child that does nothing else any more.
#[derive(Debug)]
pub(super) struct Program {
    argv: Vec<CString>,
    env: Vec<CString>,
    cwd: String,
    files: Vec<OwnedFd>,
    /// Whether what it has is no file of the program yet but the socket by which they come.
    awaits_files: bool,
}

impl Program {
    /// # Errors
    /// A zero byte in one of the strings.
    pub(super) fn new(
        argv: &[String],
        env: &[(String, String)],
        cwd: &str,
        files: Vec<OwnedFd>,
    ) -> Result<Self, String> {
        let c_string = |text: String| CString::new(text).map_err(|_| "a zero byte in an argument".to_owned());
        Ok(Self {
            argv: argv.iter().cloned().map(c_string).collect::<Result<_, _>>()?,
            env: env
                .iter()
                .map(|(name, value)| c_string(format!("{name}={value}")))
                .collect::<Result<_, _>>()?,
            cwd: cwd.to_owned(),
            files,
            awaits_files: false,
        })
    }

    /// The same, with one file that is the socket by which the program's own come.
    pub(super) fn awaiting_files(self) -> Self {
        Self { awaits_files: true, ..self }
    }

    /// Whether it waits for its files.
    pub(super) fn awaits_files(&self) -> bool {
        self.awaits_files
    }

    /// The numbers of its files, to be spared when all else is closed.
    pub(super) fn file_numbers(&self) -> impl Iterator<Item = RawFd> + '_ {
        use std::os::fd::AsRawFd;
        self.files.iter().map(AsRawFd::as_raw_fd)
    }

    /// Becomes the program; returns only on failure. Descriptors that are not its files are closed by the `exec`.
    /// A name without a slash is looked for in the folders of the environment's `PATH`.
    pub(super) fn run(mut self) -> News {
        if let Err(reason) = self.await_files().and_then(|()| self.prepare()) {
            return News::Failed(reason);
        }
        let name = self.argv.first().map(|name| name.to_bytes()).unwrap_or_default();
        let shown = String::from_utf8_lossy(name).into_owned();
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for path in self.candidates(name) {
            let error = sys::exec(&path, &self.argv, &self.env);
            // What is there and refuses says more than what is not there.
            if error.kind() != io::ErrorKind::NotFound || last.kind() == io::ErrorKind::NotFound {
                last = error;
            }
        }
        match last.raw_os_error() {
            None | Some(libc::ENOENT | libc::ENOTDIR) => {
                News::NotExecutable(format!("{shown} is not there, or its interpreter is not"))
            }
            Some(libc::EACCES | libc::ENOEXEC | libc::EISDIR | libc::ELOOP | libc::ENAMETOOLONG) => {
                News::NotExecutable(format!("executing {shown}: {last}"))
            }
            Some(_) => News::Failed(format!("executing {shown}: {last}")),
        }
    }

    /// Where a program of this name may be.
    fn candidates(&self, name: &[u8]) -> Vec<CString> {
        if name.is_empty() || name.contains(&b'/') {
            return self.argv.first().cloned().into_iter().collect();
        }
        let path = self.env.iter().find_map(|variable| variable.to_bytes().strip_prefix(b"PATH="));
        let folders =
            path.unwrap_or_default().split(|byte| *byte == b':').filter(|folder| !folder.is_empty());
        folders.filter_map(|folder| CString::new([folder, b"/", name].concat()).ok()).collect()
    }

    /// Waits for its files, if it has none yet. Ends the process if nobody will send them.
    fn await_files(&mut self) -> Result<(), String> {
        let Some(socket) = self.files.first().filter(|_| self.awaits_files) else { return Ok(()) };
        self.files = wire::await_files(socket.as_fd()).map_err(|error| format!("awaiting files: {error}"))?;
        if self.files.is_empty() { sys::exit_now(0) } else { Ok(()) }
    }

    #[allow(unsafe_code)]
    fn prepare(&self) -> Result<(), String> {
        rustix::process::chdir(self.cwd.as_str())
            .map_err(|error| format!("entering the folder {}: {error}", self.cwd))?;
        // Out of the way first: a file may bear the number that another one shall have.
        let first_free = RawFd::try_from(MAX_FILES).unwrap_or(RawFd::MAX);
        let mut aside = Vec::new();
        for file in &self.files {
            let copy = rustix::io::fcntl_dupfd_cloexec(file, first_free)
                .map_err(|error| format!("moving files: {error}"))?;
            aside.push(copy);
        }
        let mut number: RawFd = 0;
        for copy in &aside {
            // SAFETY: this process runs nothing but the few lines up to `exec`, and they own no descriptor below
            // MAX_FILES but `self.files`, which are not used again.
            unsafe { sys::place(copy.as_fd(), number) }.map_err(|error| format!("placing files: {error}"))?;
            number += 1;
        }
        sys::close_on_exec_from(number);
        sys::reset_signals();
        Ok(())
    }
}
