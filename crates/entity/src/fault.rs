//! Who is to blame for an error, and whether trying again helps.

/// Whose fault an error is; decides HTTP status and activation status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The request: a 4xx.
    Caller,
    /// The action's code: activation status 1 or 2.
    Action,
    /// This platform: a 500, or activation status 3.
    Platform,
    /// Something the platform stands on (disk, engine, network): a 503, or activation status 3.
    Backend,
}

/// What every error that crosses a room's edge can say about itself.
pub trait Fault: std::error::Error {
    /// Who is to blame.
    fn blame(&self) -> Blame;
    /// True if the same call may succeed later without any change.
    fn retry(&self) -> bool {
        false
    }
}
