//! Work that is too long for the threads that serve requests.

use crate::error::ApiError;

/// Bytes that are worked through in place: well under a millisecond.
const IN_PLACE: usize = 256 * 1024;

/// Does a computation over this many bytes, beside the serving threads if they are many.
pub(crate) async fn compute<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    if bytes <= IN_PLACE {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| ApiError::internal())
}

/// Does work that must come to its end even if the client leaves.
pub(crate) async fn finish<T: Send + 'static>(
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::spawn(work).await.map_err(|_| ApiError::internal())?
}
