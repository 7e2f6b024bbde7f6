//! The last steps before a program runs: its files, its signals, its folder, `exec`.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};

use crate::cell::MAX_FILES;
use crate::sys;

/// What to run; owned by a fresh child that does nothing else any more.
#[derive(Debug)]
pub(super) struct Program {
    argv: Vec<CString>,
    env: Vec<CString>,
    cwd: String,
    files: Vec<OwnedFd>,
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
        })
    }

    /// The numbers of its files, to be spared when all else is closed.
    pub(super) fn file_numbers(&self) -> impl Iterator<Item = RawFd> + '_ {
        use std::os::fd::AsRawFd;
        self.files.iter().map(AsRawFd::as_raw_fd)
    }

    /// Becomes the program; returns only on failure. Descriptors that are not its files are closed by the `exec`.
    pub(super) fn run(self) -> String {
        match self.prepare() {
            Err(error) => error,
            Ok(()) => {
                let error = sys::exec(&self.argv, &self.env);
                let program = self.argv.first().map(|program| program.to_string_lossy()).unwrap_or_default();
                match error.kind() {
                    io::ErrorKind::NotFound => format!("{program} is not there, or its interpreter is not"),
                    _ => format!("executing {program}: {error}"),
                }
            }
        }
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
