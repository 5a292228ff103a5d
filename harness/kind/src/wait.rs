//! Waiting for something, with a deadline and the reason why it isn't so yet.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// Between two looks: each is a program that runs.
const PAUSE: Duration = Duration::from_millis(250);

/// What a look finds: it is so, with what was found; or the reason why not.
pub type Look<T> = std::result::Result<T, String>;

/// Looks again and again until it is so.
///
/// # Errors
/// It isn't within `patience`, with the last reason; or a look fails.
pub async fn until<T, F>(stage: &'static str, patience: Duration, mut look: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Look<T>>>,
{
    let began = Instant::now();
    loop {
        match look().await? {
            Ok(found) => return Ok(found),
            Err(reason) if began.elapsed() > patience => return Err(Error::Stage { stage, patience, reason }),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
