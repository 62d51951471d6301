//! evenkeel under the Service Control Manager: it starts us, asks us to stop, and is told how far
//! we are. Whether it has started us is found out by asking it; from a console, we just run.
//!
//! ```text
//!   main thread: dispatcher ──────────────────────────────────────── returns ── exit
//!   its thread:      └> begin: starting ─ run ─ running ... stopping ─ stopped ┘
//!   ticks:                    every 2 s a checkpoint, while starting or stopping
//!   its controls:                    stop, preshutdown, paramchange ──> Request
//! ```

use crate::arguments::RunArguments;
use crate::run;
use crate::signals::Request;
use crate::trouble::Trouble;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{
    self, ServiceControlHandlerResult, ServiceStatusHandle,
};
use windows_service::{Error, define_windows_service, service_dispatcher};

/// Under which name it is installed. A process with one entry may be started under any.
pub(crate) const NAME: &str = "evenkeel";
/// ERROR_FAILED_SERVICE_CONTROLLER_CONNECT: it was somebody else who started us.
const NOT_STARTED_BY_IT: i32 = 1063;
/// The log, beside the program, unless the configuration names another.
const LOG_FILE: &str = "evenkeel.log";
/// Requests that may wait for the balancer.
const MAX_REQUESTS: usize = 8;
/// How often a start or a stop that goes on is told.
const CHECKPOINT: Duration = Duration::from_secs(2);
/// How long it waits for the next word.
const WAIT_HINT: Duration = Duration::from_secs(10);

/// What it asked for; taken by the thread that it gives us.
static ASKED: Mutex<Option<RunArguments>> = Mutex::new(None);
/// There once it has given us that thread.
static LINK: OnceLock<Link> = OnceLock::new();

/// How far we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Starting,
    Running,
    Stopping,
    /// With the exit code.
    Stopped(u32),
}

/// The way to it.
struct Link {
    status: ServiceStatusHandle,
    /// Stage and checkpoint.
    stage: Mutex<(Stage, u32)>,
    requests: Mutex<Option<Receiver<Request>>>,
}

impl Link {
    /// Goes to a stage, or on in the same one.
    fn tell(&self, next: Option<Stage>) -> windows_service::Result<Stage> {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        *stage = match next {
            Some(next) => (next, 0),
            None => (stage.0, stage.1.saturating_add(1)),
        };
        let (now, checkpoint) = *stage;
        let is_pending = matches!(now, Stage::Starting | Stage::Stopping);
        if next.is_none() && !is_pending {
            return Ok(now);
        }
        let taken = ServiceControlAccept::STOP
            | ServiceControlAccept::PRESHUTDOWN
            | ServiceControlAccept::PARAM_CHANGE;
        let (current_state, controls_accepted) = match now {
            Stage::Starting => (ServiceState::StartPending, ServiceControlAccept::empty()),
            Stage::Running => (ServiceState::Running, taken),
            Stage::Stopping => (ServiceState::StopPending, ServiceControlAccept::empty()),
            Stage::Stopped(_) => (ServiceState::Stopped, ServiceControlAccept::empty()),
        };
        let exit_code = match now {
            Stage::Stopped(code @ 1..) => ServiceExitCode::ServiceSpecific(code),
            Stage::Starting | Stage::Running | Stage::Stopping | Stage::Stopped(0) => {
                ServiceExitCode::Win32(0)
            }
        };
        self.status.set_service_status(ServiceStatus {
            service_type: ServiceType::OWN_PROCESS,
            current_state,
            controls_accepted,
            exit_code,
            checkpoint: if is_pending { checkpoint } else { 0 },
            wait_hint: if is_pending { WAIT_HINT } else { Duration::ZERO },
            process_id: None,
        })?;
        Ok(now)
    }
}

/// Runs the balancer: as the Service Control Manager wants it, if that has started us, else here.
pub(crate) fn run(arguments: &RunArguments) -> Result<(), Trouble> {
    *ASKED.lock().unwrap_or_else(PoisonError::into_inner) = Some(arguments.clone());
    match service_dispatcher::start(NAME, begin_raw) {
        Ok(()) => Ok(()),
        Err(Error::Winapi(error)) if error.raw_os_error() == Some(NOT_STARTED_BY_IT) => {
            run::run(arguments)
        }
        Err(error) => {
            let text = format!("the Service Control Manager refuses us: {}", told(&error));
            Err(Trouble::CannotStart(text))
        }
    }
}

define_windows_service!(begin_raw, begin);

/// Its thread: from here on nobody reads what is printed.
fn begin(_words: Vec<OsString>) {
    let asked = ASKED.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Err(error) = serve(&asked.unwrap_or_default()) {
        note(&format!("the Service Control Manager: {}", told(&error)));
    }
}

fn serve(arguments: &RunArguments) -> windows_service::Result<()> {
    let (sender, receiver) = channel(MAX_REQUESTS);
    let answer = move |control| answer(&sender, &control);
    let status = service_control_handler::register(NAME, answer)?;
    let link = LINK.get_or_init(|| Link {
        status,
        stage: Mutex::new((Stage::Starting, 0)),
        requests: Mutex::new(Some(receiver)),
    });
    link.tell(Some(Stage::Starting))?;
    let ticks = thread::Builder::new().name("ek-scm".to_owned()).spawn(|| tick(link));
    if let Err(error) = ticks {
        note(&format!("no thread tells of a long start or stop: {error}"));
    }
    // It starts us in its own folder; ours is where relative names of a configuration belong.
    if let Some(Err(error)) = beside().map(std::env::set_current_dir) {
        note(&format!("cannot go to the program's folder: {error}"));
    }
    let code = match run::run(arguments) {
        Ok(()) => 0,
        Err(trouble) => {
            note(&trouble.to_string());
            match trouble {
                Trouble::Mistake(_) | Trouble::Invalid(_) => 1,
                Trouble::CannotStart(_) | Trouble::Unwritable(_) => 2,
            }
        }
    };
    link.tell(Some(Stage::Stopped(code))).map(drop)
}

/// A checkpoint now and then, as long as a start or a stop goes on.
fn tick(link: &Link) {
    loop {
        thread::park_timeout(CHECKPOINT);
        if matches!(link.tell(None), Ok(Stage::Stopped(_)) | Err(_)) {
            return;
        }
    }
}

/// One of its controls, on its own thread.
fn answer(requests: &Sender<Request>, control: &ServiceControl) -> ServiceControlHandlerResult {
    let request = match control {
        ServiceControl::Stop | ServiceControl::Preshutdown | ServiceControl::Shutdown => {
            tell(Stage::Stopping);
            Request::Stop
        }
        ServiceControl::ParamChange => Request::Reload,
        ServiceControl::Interrogate => return ServiceControlHandlerResult::NoError,
        _ => return ServiceControlHandlerResult::NotImplemented,
    };
    // A balancer that is gone needs no request.
    let _ = requests.blocking_send(request);
    ServiceControlHandlerResult::NoError
}

/// Tells it how far we are; nothing happens if it has not started us.
pub(crate) fn tell(stage: Stage) {
    if let Some(Err(error)) = LINK.get().map(|link| link.tell(Some(stage))) {
        note(&format!("the Service Control Manager was not told {stage:?}: {}", told(&error)));
    }
}

/// Where it says what it wants; once.
pub(crate) fn requests() -> Option<Receiver<Request>> {
    LINK.get()?.requests.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// The log's place, if it has started us.
pub(crate) fn log_file() -> Option<PathBuf> {
    LINK.get()?;
    beside().map(|folder| folder.join(LOG_FILE))
}

fn beside() -> Option<PathBuf> {
    std::env::current_exe().ok()?.parent().map(Path::to_owned)
}

/// Writes a line into the log's place before there is a log, and after.
fn note(text: &str) {
    let Some(file) = beside().map(|folder| folder.join(LOG_FILE)) else { return };
    if let Ok(mut file) = OpenOptions::new().append(true).create(true).open(file) {
        // There is no other place to say that this one is full.
        let _ = writeln!(file, "[ERROR] {text}");
    }
}

/// An error of that library in words: its own name the kind, not the reason.
pub(crate) fn told(error: &Error) -> String {
    match error {
        Error::Winapi(error) => error.to_string(),
        error => error.to_string(),
    }
}
