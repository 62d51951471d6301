//! `service`: evenkeel as something that Windows starts.

use crate::arguments::RunArguments;
use crate::load;
use crate::lookup;
use crate::output::print;
use crate::scm::{self, NAME, told};
use crate::trouble::Trouble;
use clap::{Args, Subcommand};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use windows_service::Error;
use windows_service::service::{
    Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceErrorControl,
    ServiceFailureActions, ServiceFailureResetPeriod, ServiceInfo, ServiceStartType, ServiceState,
    ServiceType,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

const DISPLAY_NAME: &str = "evenkeel load balancer";
const DESCRIPTION: &str = "Balances HTTP, gRPC, TCP and UDP over backends.";
/// After a crash it is started again, three times a day.
const RESTART_AFTER: Duration = Duration::from_secs(5);
const RESTARTS: usize = 3;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// What a drain may take while the system ends.
const PRESHUTDOWN: Duration = Duration::from_secs(180);
/// How long a start or a stop is watched, and how often.
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(200);
const ACCESS_DENIED: i32 = 5;
const EXISTS: i32 = 1073;
const NOT_THERE: i32 = 1060;
const NOT_STARTED: i32 = 1062;

/// What to do with the installed evenkeel.
#[derive(Debug, Subcommand)]
pub(crate) enum InstalledCommand {
    /// Have Windows start evenkeel when it starts.
    Install(InstallArguments),
    /// Stop it and take it away; the configuration stays.
    Uninstall,
    /// Start it now.
    Start,
    /// Stop it now: it drains first.
    Stop,
    /// Run the balancer as the system does.
    Run(RunArguments),
}

/// How to install.
#[derive(Args, Debug)]
pub(crate) struct InstallArguments {
    /// The configuration file; without it, the one that is found beside the program.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print the command line, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Does what was asked for.
pub(crate) fn installed(command: InstalledCommand) -> Result<(), Trouble> {
    match command {
        InstalledCommand::Install(arguments) => install(&arguments),
        InstalledCommand::Uninstall => uninstall(),
        InstalledCommand::Start => start(),
        InstalledCommand::Stop => stop(),
        InstalledCommand::Run(arguments) => scm::run(&arguments),
    }
}

fn install(arguments: &InstallArguments) -> Result<(), Trouble> {
    let cannot = |what: &str, error| Trouble::CannotStart(format!("cannot {what}: {error}"));
    let found = arguments.config.clone().or_else(|| lookup::find().map(|found| found.file));
    let config = found.ok_or_else(|| {
        Trouble::Mistake("no configuration: name one, evenkeel service install -c FILE".to_owned())
    })?;
    let config = std::path::absolute(config).map_err(|e| cannot("find the file", e))?;
    // What does not hold now would not start later.
    load::load(&RunArguments { config: Some(config.clone()), ..RunArguments::default() })?;
    let program = std::env::current_exe().map_err(|e| cannot("find this program", e))?;
    if arguments.dry_run {
        let (program, config) = (program.display(), config.display());
        return print(format_args!("\"{program}\" service run -c \"{config}\"\n"));
    }
    let access = ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE;
    let manager = ServiceManager::local_computer(None::<&OsStr>, access).map_err(refused)?;
    let wanted = wanted(&program, &config);
    let service = manager
        .create_service(&wanted, ServiceAccess::CHANGE_CONFIG | ServiceAccess::START)
        .map_err(refused)?;
    configure(&service).map_err(refused)?;
    print(format_args!("installed {NAME}; start it now: evenkeel service start\n"))
}

fn wanted(program: &Path, config: &Path) -> ServiceInfo {
    let words = ["service", "run", "-c"].map(OsString::from);
    ServiceInfo {
        name: NAME.into(),
        display_name: DISPLAY_NAME.into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: program.to_owned(),
        launch_arguments: words.into_iter().chain([config.as_os_str().to_owned()]).collect(),
        dependencies: Vec::new(),
        account_name: None,
        account_password: None,
    }
}

/// What Windows does with it besides starting it.
fn configure(service: &Service) -> windows_service::Result<()> {
    service.set_description(DESCRIPTION)?;
    service.set_preshutdown_timeout(PRESHUTDOWN)?;
    let restart = ServiceAction { action_type: ServiceActionType::Restart, delay: RESTART_AFTER };
    service.update_failure_actions(ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(DAY),
        reboot_msg: None,
        command: None,
        actions: Some(vec![restart; RESTARTS]),
    })
}

fn open(access: ServiceAccess) -> Result<Service, Trouble> {
    let manager = ServiceManager::local_computer(None::<&OsStr>, ServiceManagerAccess::CONNECT);
    manager.and_then(|it| it.open_service(NAME, access)).map_err(refused)
}

fn uninstall() -> Result<(), Trouble> {
    let service = open(ServiceAccess::QUERY_STATUS | ServiceAccess::STOP | ServiceAccess::DELETE)?;
    end(&service)?;
    service.delete().map_err(refused)?;
    print(format_args!("stopped and removed {NAME}\n"))
}

fn start() -> Result<(), Trouble> {
    let service = open(ServiceAccess::QUERY_STATUS | ServiceAccess::START)?;
    service.start::<&OsStr>(&[]).map_err(refused)?;
    match watch(&service, ServiceState::StartPending)? {
        ServiceState::Running => print(format_args!("{NAME} runs\n")),
        state => Err(Trouble::CannotStart(format!(
            "{NAME} did not start ({state:?}); evenkeel.log beside the program says why"
        ))),
    }
}

fn stop() -> Result<(), Trouble> {
    end(&open(ServiceAccess::QUERY_STATUS | ServiceAccess::STOP)?)?;
    print(format_args!("{NAME} has stopped\n"))
}

/// Asks it to stop, and waits until it has drained.
fn end(service: &Service) -> Result<(), Trouble> {
    match service.stop() {
        Err(Error::Winapi(error)) if error.raw_os_error() == Some(NOT_STARTED) => return Ok(()),
        asked => asked.map(drop).map_err(refused)?,
    }
    match watch(service, ServiceState::StopPending)? {
        ServiceState::Stopped => Ok(()),
        state => Err(Trouble::CannotStart(format!("{NAME} has not stopped yet ({state:?})"))),
    }
}

/// Its state once it is no longer `pending`, or when patience is over.
fn watch(service: &Service, pending: ServiceState) -> Result<ServiceState, Trouble> {
    let mut waited = Duration::ZERO;
    loop {
        let state = service.query_status().map_err(refused)?.current_state;
        if state != pending || waited >= PATIENCE {
            return Ok(state);
        }
        thread::park_timeout(LOOK);
        waited += LOOK;
    }
}

fn refused(error: Error) -> Trouble {
    let code = match &error {
        Error::Winapi(error) => error.raw_os_error(),
        _ => None,
    };
    let hint = match code {
        Some(ACCESS_DENIED) => "; run it as an administrator",
        Some(EXISTS) => "; remove it first: evenkeel service uninstall",
        Some(NOT_THERE) => "; install it first: evenkeel service install",
        Some(_) | None => "",
    };
    Trouble::CannotStart(format!("the Service Control Manager: {}{hint}", told(&error)))
}
