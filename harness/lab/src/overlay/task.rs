//! Tasks that end with the value that started them.

use tokio::task::JoinHandle;

/// A task on the runtime; dropping it aborts the task.
#[derive(Debug)]
pub(super) struct Task(JoinHandle<()>);

impl Task {
    /// Starts a task. Call it within the runtime.
    pub(super) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    /// Aborts the task and waits until what it held is gone.
    pub(super) async fn stop(mut self) {
        self.0.abort();
        // An error says that it was aborted, which is what was asked for.
        let _ = (&mut self.0).await;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
