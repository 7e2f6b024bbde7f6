//! Work that is too long for the threads that serve requests.

use tokio::sync::Semaphore;

use crate::wire::error::ApiError;

/// Bytes that are worked through in place: well under a millisecond.
const IN_PLACE: usize = 256 * 1024;
/// Computations beside them at a time. A text that was read may take ten times the memory that it has as a body, so
/// that the others wait for their turn as bodies, which are counted.
static PLACES: Semaphore = Semaphore::const_new(2);

/// Does a computation over this many bytes, beside the serving threads if they are many.
pub(crate) async fn compute<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    if bytes <= IN_PLACE {
        return Ok(work());
    }
    let place = PLACES.acquire().await.map_err(|_| ApiError::internal())?;
    let work = move || {
        let done = work();
        drop(place);
        done
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| ApiError::internal())
}

/// Does work that must come to its end even if the client leaves.
pub(crate) async fn finish<T: Send + 'static>(
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::spawn(work).await.map_err(|_| ApiError::internal())?
}
