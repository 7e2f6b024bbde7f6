//! The public trace of Azure Functions of 2019: its files read as a trace, and files of the same form written.
//!
//! A day is three tables. *Invocations* have a row for every function that ran, with the number of its calls in each
//! of the day's 1440 minutes. *Durations* have percentiles of its run time, *memory* those of its application, which is
//! what that platform starts. The tables come from different logs: not every function is in all of them, and the last
//! days have no memory. What is missing is taken from another function or application of the same day, drawn by the
//! seed, so that the whole keeps its distribution.

mod load;
mod rows;
mod synthetic;
mod tables;

use std::path::{Path, PathBuf};

pub use load::{Azure, Selection};
pub use synthetic::Synthetic;

/// Minutes of a day, and columns of counts.
pub const MINUTES: usize = 1440;

/// Most rows of a table.
const MOST_ROWS: usize = 500_000;
/// Most pairs of function and minute with calls in it.
const MOST_CELLS: usize = 64_000_000;
/// Most calls in a minute.
const MOST_CALLS: u64 = 20_000_000;

/// Why a trace cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum AzureError {
    /// The file system said no.
    #[error("{path}: {error}", path = path.display())]
    File {
        /// Which file or folder.
        path: PathBuf,
        /// What it said.
        error: std::io::Error,
    },
    /// A line is not what the format has there.
    #[error("{path}:{line}: {what}", path = path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it, and what would be right.
        what: String,
    },
    /// The trace is larger than what is held in memory.
    #[error("{path}: {what}; take a smaller share of its applications or fewer minutes", path = path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// What there is too much of.
        what: String,
    },
    /// Nothing is left to simulate.
    #[error("{0}")]
    Empty(String),
}

/// The tables of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Table {
    Invocations,
    Durations,
    Memory,
}

impl Table {
    fn path(self, folder: &Path, day: u32) -> PathBuf {
        let name = match self {
            Self::Invocations => "invocations_per_function_md",
            Self::Durations => "function_durations_percentiles",
            Self::Memory => "app_memory_percentiles",
        };
        folder.join(format!("{name}.anon.d{day:02}.csv"))
    }
}

fn file_error(path: &Path) -> impl FnOnce(std::io::Error) -> AzureError {
    let path = path.to_owned();
    |error| AzureError::File { path, error }
}
