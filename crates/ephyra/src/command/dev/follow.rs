//! Follows a function's log and its answers, for as long as it is deployed from here; comes back when the platform does.

use std::time::Duration;

use tokio::sync::watch::{Receiver, Sender};
use tokio::time::Instant;

use super::screen::Screen;
use crate::endpoint::{Platform, label};
use crate::lines::Lines;

/// The first pause before the platform is asked again; the longest.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What is being followed.
#[derive(Debug, Default)]
pub(super) struct Following {
    log_of: Option<String>,
    answers_of: Option<String>,
}

impl Following {
    /// Whether both are, of this function.
    pub(super) fn is_of(&self, name: &str) -> bool {
        self.log_of.as_deref() == Some(name) && self.answers_of.as_deref() == Some(name)
    }
}

/// Shows the log of the function that `name` says. Ends only when nobody reads any more.
pub(super) async fn logs(
    platform: &Platform,
    screen: Screen<'_>,
    name: Receiver<Option<String>>,
    following: &Sender<Following>,
) -> anyhow::Result<()> {
    let mut seen = Instant::now();
    follow(name, async |name| {
        let query = [
            ("since", seen.elapsed().as_millis().to_string()),
            ("limit", "1000".to_owned()),
            ("follow", "true".to_owned()),
        ];
        let Ok(answer) = platform
            .stream_own(&format!("/_ephyra/logs/{}", label(name)), &query)
            .await
        else {
            return Ok(false);
        };
        following.send_modify(|following| following.log_of = Some(name.to_owned()));
        let mut lines = Lines::new(answer);
        while let Ok(Some(line)) = lines.next().await {
            screen.log(&line)?;
        }
        seen = Instant::now();
        following.send_modify(|following| following.log_of = None);
        screen.note("The platform has ended the log; waiting for it to come back.")?;
        Ok(true)
    })
    .await
}

/// Shows the answers of the function that `name` says. Ends only when nobody reads any more.
pub(super) async fn answers(
    platform: &Platform,
    screen: Screen<'_>,
    name: Receiver<Option<String>>,
    following: &Sender<Following>,
) -> anyhow::Result<()> {
    follow(name, async |name| {
        let Ok(answer) = platform
            .stream_own(&format!("/_ephyra/answers/{}", label(name)), &[])
            .await
        else {
            return Ok(false);
        };
        following.send_modify(|following| following.answers_of = Some(name.to_owned()));
        let mut lines = Lines::new(answer);
        while let Ok(Some(line)) = lines.next().await {
            screen.answer(&line)?;
        }
        following.send_modify(|following| following.answers_of = None);
        Ok(true)
    })
    .await
}

/// Does `once` again and again, anew when the name changes. It says whether it had the platform's ear.
async fn follow(
    mut names: Receiver<Option<String>>,
    mut once: impl AsyncFnMut(&str) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let mut pause = PAUSE;
    loop {
        let name = match names.wait_for(Option::is_some).await {
            Ok(name) => name.clone().unwrap_or_default(),
            // The session is over, and so is this, in the same select.
            Err(_) => std::future::pending().await,
        };
        names.mark_unchanged();
        tokio::select! {
            heard = once(&name) => {
                pause = if heard? { PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
                tokio::time::sleep(pause).await;
            }
            _ = names.changed() => {}
        }
    }
}
