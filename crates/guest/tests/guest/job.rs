//! Jobs: what a command makes comes out of its descriptor 3.

use std::time::Duration;

use ephyra_guest::job::{self, Job, JobError};
use ephyra_sandbox::supervisor::StartCommand;

use crate::support::Rig;

async fn run(script: &str, most_bytes: usize, limit: Duration) -> Result<Vec<u8>, JobError> {
    let rig = Rig::provided("");
    let job = Job {
        command: StartCommand {
            arguments: ["/bin/sh", "-ec", script].map(str::to_owned).to_vec(),
            variables: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
            directory: "/tmp".to_owned(),
        },
        most_bytes,
        limit,
        is_urgent: true,
    };
    job::run(rig.sandbox().await, job).await
}

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_result_is_whole_or_there_is_none() {
    // More than pipes and sockets hold, both ways.
    let script = "head -c 1000000 /dev/zero; head -c 300000 /dev/zero >&3";
    assert_eq!(run(script, 300_000, LONG).await.unwrap(), vec![0; 300_000]);
    assert_eq!(run("exit 0", 1, LONG).await.unwrap(), b"");
    assert!(matches!(
        run(script, 299_999, LONG).await,
        Err(JobError::TooMuch(299_999))
    ));
}

#[tokio::test]
async fn a_failed_job_says_why() {
    let error = run("printf part >&3; echo first; echo last >&2; false", 10, LONG)
        .await
        .unwrap_err();
    let JobError::Failed { exit, output } = error else {
        panic!("{error}")
    };
    assert!(exit.contains("Exited(1)"), "{exit}");
    assert_eq!(output, "first | last");
    assert!(matches!(
        run("kill -9 $$", 10, LONG).await,
        Err(JobError::Failed { .. })
    ));
}

#[tokio::test]
async fn a_job_has_its_time() {
    let limit = Duration::from_millis(200);
    assert!(matches!(run("sleep 60", 10, limit).await, Err(JobError::TooLong(_))));
}
