//! Sockets that systemd has opened: a shell plays systemd, as sd_listen_fds(3) describes it.

use crate::program::{Program, Shell, backend, backend_of, get};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

/// Descriptors 3 and 4 are the sockets; `$$` is the process that the shell becomes.
const LAUNCHER: &str = "exec 3<&0 4<&2 0</dev/null 2>/dev/null; \
    export LISTEN_FDS=2 LISTEN_PID=$$ LISTEN_FDNAMES=\"$1\"; exec \"$0\" run --no-watch";

fn socket() -> (TcpListener, String) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("bound").to_string();
    (socket, address)
}

fn launch(shell: &Shell, names: &str, sockets: [&TcpListener; 2]) -> Program {
    let [web, other] = sockets.map(|socket| {
        let own = socket.try_clone().expect("a descriptor");
        Stdio::from(OwnedFd::from(own))
    });
    let mut command = Command::new("sh");
    command.args(["-c", LAUNCHER, env!("CARGO_BIN_EXE_evenkeel"), names]);
    command.stdin(web).stderr(other);
    shell.launch(command)
}

#[test]
fn listeners_take_the_sockets_of_systemd() {
    let (_a, a) = backend("a");
    for names in ["web:other", "", "unknown:unknown"] {
        let ((one, web), (two, other)) = (socket(), socket());
        let shell = Shell::new();
        let text = format!(
            "listeners:\n- {{ name: other, bind: \"{other}\" }}\n\
             - {{ name: web, bind: \"{web}\" }}\nroutes: [{{ pool: p }}]\n\
             pools: [{{ name: p, backends: [\"{a}\"] }}]\nadmin: {{ bind: \"127.0.0.1:0\" }}\n"
        );
        shell.write("config.yaml", &text);
        let mut balancer = launch(&shell, names, [&one, &two]);
        let started = balancer.event("started");
        assert_eq!(started["listeners"], format!("other={other} web={web}"), "{names:?}");
        // They are the very sockets: one that was not taken over would have been refused the port.
        drop((one, two));
        for address in [&web, &other] {
            assert_eq!(backend_of(&get(address, "/")), "a", "{names:?}");
        }
        assert_eq!(balancer.terminate().code, 0);
    }
}

#[test]
fn a_socket_that_fits_no_listener_is_told_of() {
    let (_a, a) = backend("a");
    let ((one, web), (two, other)) = (socket(), socket());
    let shell = Shell::new().set("EVENKEEL__ADMIN__BIND", "127.0.0.1:0");
    shell.write("config.yaml", &format!("listen: \"{web}\"\nbackends: [\"{a}\"]\n"));
    let mut balancer = launch(&shell, ":spare", [&one, &two]);
    let unused = balancer.event("socket_unused");
    assert_eq!(unused["address"], other, "{unused}");
    assert_eq!(unused["name"], "spare", "{unused}");
    assert!(unused["listeners"].as_str().is_some_and(|it| it.ends_with(&web)), "{unused}");
    drop((one, two));
    assert!(std::net::TcpStream::connect(&other).is_err(), "it is closed");
    assert_eq!(backend_of(&get(&web, "/")), "a");
    assert_eq!(balancer.terminate().code, 0);
}

/// As systemd leaves it: it removes the file itself, if it is told to.
#[test]
fn the_file_of_a_socket_of_systemd_stays() {
    let shell = Shell::new().set("EVENKEEL__ADMIN__BIND", "");
    let path = shell.folder().join("web.sock");
    let one = UnixListener::bind(&path).expect("bound");
    let (two, other) = socket();
    let text = format!(
        "listeners:\n- {{ bind: \"unix:{}\" }}\n- {{ bind: \"{other}\" }}\n\
         pools: [{{ name: p, backends: [\"127.0.0.1:1\"] }}]\n",
        path.display()
    );
    shell.write("config.yaml", &text);
    let own = OwnedFd::from(one.try_clone().expect("a descriptor"));
    let other = OwnedFd::from(two.try_clone().expect("a descriptor"));
    let mut command = Command::new("sh");
    command.args(["-c", LAUNCHER, env!("CARGO_BIN_EXE_evenkeel"), ""]);
    command.stdin(Stdio::from(own)).stderr(Stdio::from(other));
    let mut balancer = shell.launch(command);
    balancer.event("started");
    assert_eq!(balancer.terminate().code, 0);
    assert!(path.exists());
    // They are still the very sockets.
    assert!(UnixStream::connect(&path).is_ok());
    drop((one, two));
}

#[test]
fn sockets_that_were_meant_for_another_process_are_left_alone() {
    let ((one, web), (two, _)) = (socket(), socket());
    let shell = Shell::new().set("EVENKEEL__ADMIN__BIND", "127.0.0.1:0");
    shell.write("config.yaml", &format!("listen: \"{web}\"\nbackends: [\"127.0.0.1:1\"]\n"));
    let mut command = Command::new("sh");
    let launcher = LAUNCHER.replace("LISTEN_PID=$$", "LISTEN_PID=1");
    command.args(["-c", &launcher, env!("CARGO_BIN_EXE_evenkeel"), "web:other"]);
    let fd = |socket: &TcpListener| {
        Stdio::from(OwnedFd::from(socket.try_clone().expect("a descriptor")))
    };
    command.stdin(fd(&one)).stderr(fd(&two));
    // The port is taken: by a socket that is not ours.
    assert_eq!(shell.launch(command).end().code, 2);
}
