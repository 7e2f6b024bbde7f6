//! Background tasks with a name: a panic in one is logged, not lost, and never ends the node.

use tokio::task::JoinHandle;

/// Runs a future in the background. A panic in it is logged under the name.
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let work = tokio::spawn(future);
    let abort = AbortOnDrop(work.abort_handle());
    tokio::spawn(async move {
        let _abort = abort;
        if let Err(error) = work.await
            && error.is_panic()
        {
            tracing::error!(task = name, %error, "a background task panicked");
        }
    })
}

/// Aborting the outer handle aborts the work.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    #[allow(clippy::panic, reason = "the panic is the case")]
    async fn a_panic_stays_inside() {
        super::spawn("panics", async { panic!("inside") }).await.unwrap();
    }

    #[tokio::test]
    async fn aborting_ends_the_work() {
        let (alive, ended) = tokio::sync::oneshot::channel::<()>();
        let task = super::spawn("waits", async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        task.abort();
        assert!(ended.await.is_err(), "the work was dropped");
    }
}
