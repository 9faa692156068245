//! `ephyra dev`: a folder is a function for as long as it runs. Each change is deployed; the function's log and its
//! answers are shown as they come. What goes wrong is said, and the next change tries again.

mod follow;
mod screen;
mod watch;

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use ephyra_core::digest::Digest;
use http::Method;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch::{Receiver, Sender};
use tokio::time::{Instant, timeout};

use super::deployment::{self, Deployment};
use super::entrance::{self, Entrances};
use super::{invoke, url};
use crate::cli;
use crate::endpoint::Platform;
use crate::output::Output;
use crate::project::{FILE_NAME, Project};
use screen::Screen;
use watch::Watch;

/// How long an event waits for its answer to be watched.
const WATCHED_WITHIN: Duration = Duration::from_secs(5);

pub(crate) async fn run(options: &cli::Dev, output: &Output) -> anyhow::Result<ExitCode> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let platform = Platform::find(&options.target)?;
    let output = output.on_stdout();
    let screen = Screen::new(&output);
    if !options.folder.join(FILE_NAME).exists() {
        // A folder that is no project at all is a slip, not something that the next change will mend.
        Project::read(&options.folder)?;
    }
    let payload = options.payload.as_deref().map(invoke::payload).transpose()?;
    let (names, name) = tokio::sync::watch::channel(None);
    let (following, is_following) = tokio::sync::watch::channel(follow::Following::default());
    let session = Session {
        folder: &options.folder,
        platform: &platform,
        output: &output,
        screen,
        payload,
        project: None,
        deployed: None,
        runtime: None,
        names,
        is_following,
    };
    tokio::select! {
        ended = session.run() => ended?,
        ended = follow::logs(&platform, screen, name.clone(), &following) => ended?,
        ended = follow::answers(&platform, screen, name, &following) => ended?,
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    screen.note("Stopped watching; the function stays as it is.")?;
    Ok(ExitCode::SUCCESS)
}

/// One folder's life.
struct Session<'a> {
    folder: &'a Path,
    platform: &'a Platform,
    output: &'a Output,
    screen: Screen<'a>,
    /// What the function is called with after each deployment.
    payload: Option<Bytes>,
    /// The settings as they could be read last.
    project: Option<Project>,
    /// What was deployed last; nothing after a failure, so that any change tries again.
    deployed: Option<(Project, Digest)>,
    /// The last family or identifier that was asked for, and the identifier that it means.
    runtime: Option<(String, String)>,
    /// Who follows what.
    names: Sender<Option<String>>,
    is_following: Receiver<follow::Following>,
}

impl Session<'_> {
    /// Deploys, then after each change. Ends when the folder can no longer be watched.
    async fn run(mut self) -> anyhow::Result<()> {
        let mut watch = Watch::new(self.folder, excludes(None))?;
        let watching = format!("Watching {}; Ctrl-C ends it.", self.folder.display());
        self.screen.note(&watching)?;
        self.try_deploy(Instant::now(), &[]).await?;
        loop {
            let project = self.project.clone();
            let changes = watch.changes(&excludes(project.as_ref())).await?;
            self.try_deploy(changes.since.unwrap_or_else(Instant::now), &changes.names)
                .await?;
        }
    }

    /// Deploys and says how that went; what fails here is for the next change. An error means that nobody reads any more.
    async fn try_deploy(&mut self, since: Instant, changed: &[String]) -> anyhow::Result<()> {
        match self.deploy(since, changed).await {
            Ok(()) => Ok(()),
            Err(error) => {
                self.deployed = None;
                self.screen.error(&error)?;
                Ok(())
            }
        }
    }

    async fn deploy(&mut self, since: Instant, changed: &[String]) -> anyhow::Result<()> {
        let project = Project::read(self.folder)?;
        self.project = Some(project.clone());
        let package = project.package(self.folder)?;
        let digest = Digest::of(&package);
        let before = self.deployed.take();
        if before
            .as_ref()
            .is_some_and(|(last, code)| *last == project && *code == digest)
        {
            self.deployed = before;
            return Ok(());
        }
        let runtime = self.runtime(&project.runtime).await?;
        let deployment = Deployment {
            platform: self.platform,
            project: &project,
            output: self.output,
            runtime: &runtime,
            package: &package,
        };
        let (sent, function) = deployment.send().await?;
        let entrances_of = |project: &Project| {
            (
                project.name.clone(),
                project.url.clone(),
                project.routes.clone(),
                project.jwt.clone(),
            )
        };
        let entrances = match before {
            Some((last, _)) if entrances_of(&last) == entrances_of(&project) => Entrances::default(),
            _ => entrance::apply(self.platform, &project, &function).await?,
        };
        self.screen.deployed(&project.name, sent, since.elapsed(), changed)?;
        if let Some(addresses) = entrances.shown(self.output).await {
            self.screen.note(&addresses)?;
        }
        let name = project.name.clone();
        self.deployed = Some((project, digest));
        self.names.send_if_modified(|known| {
            let is_new = known.as_ref() != Some(&name);
            *known = Some(name.clone());
            is_new
        });
        self.call(&name).await
    }

    /// Calls the function, if it is to be called; whoever follows its answers shows what comes of it.
    async fn call(&mut self, name: &str) -> anyhow::Result<()> {
        let Some(payload) = self.payload.clone() else {
            return Ok(());
        };
        let is_watched = self.is_following.wait_for(|following| following.is_of(name));
        let watched = timeout(WATCHED_WITHIN, is_watched).await;
        watched.context("the function's answers cannot be watched, so it was not called")??;
        let path = format!("{}/invocations", url::function_path(name));
        self.platform
            .lambda
            .call(Method::POST, &path, &[], &[], payload)
            .await?;
        Ok(())
    }

    async fn runtime(&mut self, wanted: &str) -> anyhow::Result<String> {
        if let Some((_, found)) = self.runtime.as_ref().filter(|(asked, _)| asked == wanted) {
            return Ok(found.clone());
        }
        let found = deployment::runtime(self.platform, wanted).await?;
        self.runtime = Some((wanted.to_owned(), found.clone()));
        Ok(found)
    }
}

/// What is not watched: what is not part of the package, but for the settings.
fn excludes(project: Option<&Project>) -> impl Fn(&OsStr) -> bool + '_ {
    move |name| {
        let is_left_out = match project {
            None => Project::never_packs(name),
            Some(project) => project.excludes(name),
        };
        is_left_out && name != FILE_NAME
    }
}
