//! `service`: evenkeel as something that the system starts. On Linux a unit of systemd; on Windows
//! the Service Control Manager (`scm`).

use crate::arguments::RunArguments;
use crate::load;
use crate::output::{Tone, print, say};
use crate::run;
use crate::trouble::Trouble;
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The unit as the packages ship it.
const UNIT: &str = include_str!("../../../deployments/systemd/evenkeel.service");
/// What stands in it for the program and its configuration.
const UNIT_PROGRAM: &str = "/usr/bin/evenkeel";
const UNIT_CONFIG: &str = "/etc/evenkeel/evenkeel.yaml";
/// The user that the packages make; without it systemd lends one.
const UNIT_USER: &str = "User=evenkeel\nGroup=evenkeel\n";
const LENT_USER: &str = "DynamicUser=yes\n";
const UNIT_NAME: &str = "evenkeel.service";
/// What the unit hides from whom it starts, by `ProtectHome` and `PrivateTmp`.
const HIDDEN: &[&str] = &["/home", "/root", "/run/user", "/tmp", "/var/tmp"];

/// What to do with the installed evenkeel.
#[derive(Debug, Subcommand)]
pub(crate) enum InstalledCommand {
    /// Have the system start evenkeel when it starts: write the unit, enable it.
    Install(InstallArguments),
    /// Stop it and take it away; the configuration stays.
    Uninstall(FolderArguments),
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
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", default_value = UNIT_CONFIG)]
    pub(crate) config: PathBuf,
    /// Print the unit, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) folder: FolderArguments,
}

/// Where units are.
#[derive(Args, Debug)]
pub(crate) struct FolderArguments {
    /// The folder of the unit.
    #[arg(long, value_name = "DIR", default_value = "/etc/systemd/system")]
    pub(crate) unit_folder: PathBuf,
}

/// Does what was asked for.
pub(crate) fn installed(command: InstalledCommand) -> Result<(), Trouble> {
    match command {
        InstalledCommand::Install(arguments) => install(&arguments),
        InstalledCommand::Uninstall(arguments) => uninstall(&arguments),
        InstalledCommand::Start => systemctl(&["start", UNIT_NAME]),
        InstalledCommand::Stop => systemctl(&["stop", UNIT_NAME]),
        InstalledCommand::Run(arguments) => run::run(&arguments),
    }
}

fn install(arguments: &InstallArguments) -> Result<(), Trouble> {
    let cannot = |what: &str, error| Trouble::CannotStart(format!("cannot {what}: {error}"));
    let config = std::path::absolute(&arguments.config).map_err(|e| cannot("find the file", e))?;
    // What does not hold now would not start later.
    load::load(&RunArguments { config: Some(config.clone()), ..RunArguments::default() })?;
    let program = std::env::current_exe().map_err(|e| cannot("find this program", e))?;
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let has_user = users.lines().any(|line| line.starts_with("evenkeel:"));
    let unit = unit(&program, &config, has_user)?;
    for path in [&program, &config] {
        let Some(folder) = hidden(path) else { continue };
        let path = path.display();
        say(
            Tone::Warning,
            format_args!(
                "the unit hides {folder} from what it starts, so {path} is not found there: \
                 put it elsewhere (/usr/local/bin, /etc/evenkeel) and install again"
            ),
        );
    }
    if arguments.dry_run {
        return print(unit);
    }
    let file = arguments.folder.unit_folder.join(UNIT_NAME);
    std::fs::write(&file, unit)
        .map_err(|e| cannot(&format!("write {} (are you root?)", file.display()), e))?;
    systemctl(&["daemon-reload"])?;
    systemctl(&["enable", UNIT_NAME])?;
    print(format_args!(
        "wrote {}, enabled {UNIT_NAME}; start it now: evenkeel service start\n",
        file.display()
    ))
}

fn uninstall(arguments: &FolderArguments) -> Result<(), Trouble> {
    let file = arguments.unit_folder.join(UNIT_NAME);
    if !file.is_file() {
        return Err(Trouble::Mistake(format!("{} is not there", file.display())));
    }
    systemctl(&["disable", "--now", UNIT_NAME])?;
    std::fs::remove_file(&file).map_err(|error| {
        Trouble::CannotStart(format!("cannot remove {}: {error}", file.display()))
    })?;
    systemctl(&["daemon-reload"])?;
    print(format_args!("stopped and removed {}\n", file.display()))
}

/// The unit for this program and this configuration.
fn unit(program: &Path, config: &Path, has_user: bool) -> Result<String, Trouble> {
    let mut unit =
        UNIT.replace(UNIT_PROGRAM, &unit_word(program)?).replace(UNIT_CONFIG, &argument(config)?);
    if !has_user {
        unit = unit.replace(UNIT_USER, LENT_USER);
    }
    Ok(unit)
}

/// The folder in which the unit hides a path, if it does.
fn hidden(path: &Path) -> Option<&'static str> {
    let real = path.canonicalize();
    let real = real.as_deref().unwrap_or(path);
    HIDDEN.iter().copied().find(|folder| real.starts_with(folder))
}

/// A path as an argument in a unit: there, and not in the program's own, `$` begins a variable.
fn argument(path: &Path) -> Result<String, Trouble> {
    Ok(unit_word(path)?.replace('$', "$$"))
}

/// A path as one word of a command line in a unit (systemd.service(5)).
fn unit_word(path: &Path) -> Result<String, Trouble> {
    let text = path.to_str().filter(|text| !text.contains(['"', '\\', '\n', '\r']));
    let text = text.ok_or_else(|| {
        Trouble::Mistake(format!("{} cannot stand in a unit; choose another", path.display()))
    })?;
    let text = text.replace('%', "%%");
    Ok(if text.contains([' ', '\t', '\'']) { format!("\"{text}\"") } else { text })
}

fn systemctl(words: &[&str]) -> Result<(), Trouble> {
    let spoken = format!("systemctl {}", words.join(" "));
    match Command::new("systemctl").args(words).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Trouble::CannotStart(format!("`{spoken}` ended with {status}"))),
        Err(error) => Err(Trouble::CannotStart(format!(
            "cannot run `{spoken}`: {error}; without systemd, start `evenkeel run` as your \
             system starts things (`evenkeel service install --dry-run` prints a unit)"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_names_what_is_installed() {
        let unit = unit(Path::new("/opt/e v$/evenkeel"), Path::new("/srv/$100%.yaml"), false);
        let unit = unit.expect("paths");
        assert!(unit.contains("\nExecStart=\"/opt/e v$/evenkeel\" run -c /srv/$$100%%.yaml\n"));
        assert!(unit.contains("\nDynamicUser=yes\n") && !unit.contains("User=evenkeel"));
        assert!(unit_word(Path::new("/a\nExecStart=b")).is_err());
    }

    #[test]
    fn what_the_unit_hides_is_known() {
        for (path, folder) in [
            ("/home/someone/.cargo/bin/evenkeel", Some("/home")),
            ("/root/evenkeel.yaml", Some("/root")),
            ("/tmp/evenkeel", Some("/tmp")),
            ("/tmpfiles/evenkeel", None),
            ("/usr/local/bin/evenkeel", None),
        ] {
            assert_eq!(hidden(Path::new(path)), folder, "{path}");
        }
        assert!(UNIT.contains("ProtectHome=yes") && UNIT.contains("PrivateTmp=yes"));
    }

    #[test]
    fn the_unit_of_the_packages_is_as_it_is() {
        let unit = unit(Path::new(UNIT_PROGRAM), Path::new(UNIT_CONFIG), true);
        assert_eq!(unit.expect("paths"), UNIT);
    }
}
