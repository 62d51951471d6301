//! `service`, with a `systemctl` that writes down what it is asked for.

use crate::program::{Answer, Shell};
use std::os::unix::fs::PermissionsExt;

/// A folder with a configuration and such a `systemctl`.
fn shell() -> Shell {
    let shell = Shell::new();
    shell.write("e.yaml", "listen: \":0\"\nbackends: [\"127.0.0.1:1\"]\n");
    shell.write("units/here", "");
    shell.write("bin/systemctl", "#!/bin/sh\necho \"$@\" >>asked\n");
    let fake = shell.folder().join("bin/systemctl");
    std::fs::set_permissions(fake, PermissionsExt::from_mode(0o755)).expect("ours");
    let path = format!("{}/bin:/usr/bin:/bin", shell.folder().display());
    shell.set("PATH", &path)
}

#[test]
fn it_is_installed_started_stopped_and_taken_away() {
    let shell = shell();
    let run = |words: &[&str]| -> Answer {
        let answer = shell.run(words);
        assert_eq!(answer.code, 0, "{words:?} {answer:?}");
        answer
    };
    run(&["service", "install", "-c", "e.yaml", "-unit-folder", "units"]);
    let unit = shell.folder().join("units/evenkeel.service");
    let text = std::fs::read_to_string(&unit).expect("written");
    let config = shell.folder().join("e.yaml");
    assert!(text.contains(&format!(" run -c {}\n", config.display())), "{text}");
    run(&["service", "start"]);
    run(&["service", "stop"]);
    run(&["service", "uninstall", "-unit-folder", "units"]);
    assert!(!unit.exists());
    let asked = std::fs::read_to_string(shell.folder().join("asked")).expect("asked");
    let wanted = "daemon-reload\nenable evenkeel.service\nstart evenkeel.service\n\
                  stop evenkeel.service\ndisable --now evenkeel.service\ndaemon-reload\n";
    assert_eq!(asked, wanted);
}

#[test]
fn what_cannot_be_is_refused() {
    let shell = shell();
    shell.write("bad.yaml", "listen: 1\n");
    let dry = shell.run(&["service", "install", "-c", "e.yaml", "-dry-run"]);
    assert!(dry.code == 0 && dry.stdout.contains("Type=notify"), "{dry:?}");
    assert_eq!(shell.run(&["service", "install", "-c", "bad.yaml", "-dry-run"]).code, 1);
    assert_eq!(shell.run(&["service", "install", "-c", "none.yaml", "-dry-run"]).code, 1);
    assert_eq!(shell.run(&["service", "uninstall", "-unit-folder", "units"]).code, 1);
    let no_systemd = shell.set("PATH", "/nowhere").run(&["service", "start"]);
    assert_eq!(no_systemd.code, 2, "{no_systemd:?}");
}
