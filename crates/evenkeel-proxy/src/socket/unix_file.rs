//! Unix sockets and the files that they are found by.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Binds a unix socket. A socket's file that nobody listens on is replaced; nothing else is.
///
/// # Errors
/// Somebody listens there, it is no socket, or the system refuses it.
pub fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && !is_socket(path) => {
            let why = "a file lies there that is no socket; remove it or choose another path";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path) => {
            fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        bound => bound?,
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn is_socket(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

/// True if nobody listens on the socket any more.
fn is_stale(path: &Path) -> bool {
    let answer = UnixStream::connect(path);
    answer.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// The file of a unix socket. If it is ours it goes with this, unless another process has put its
/// own there.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Its device and inode.
    identity: (u64, u64),
    is_ours: bool,
}

impl SocketFile {
    /// What is there now; somebody else's until it is taken.
    ///
    /// # Errors
    /// There is no such file.
    pub fn at(path: &Path) -> io::Result<SocketFile> {
        let identity = identity_of(path)?;
        Ok(SocketFile { path: path.to_owned(), identity, is_ours: false })
    }

    /// It is ours from now on.
    pub fn take(&mut self) {
        self.is_ours = true;
    }

    /// It is another process's from now on.
    pub fn leave(&mut self) {
        self.is_ours = false;
    }
}

fn identity_of(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::metadata(path)?;
    Ok((file.dev(), file.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_it = || identity_of(&self.path).is_ok_and(|now| now == self.identity);
        if self.is_ours && is_it() {
            // A file that cannot be removed is found stale at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_file_of_a_socket_that_nobody_listens_on_is_replaced() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("web.sock");
        drop(UnixListener::bind(&path).expect("a socket that leaves its file"));
        let _listener = bind_unix(&path).expect("replaced");
        assert_eq!(bind_unix(&path).expect_err("lives").kind(), io::ErrorKind::AddrInUse);
        let other = folder.path().join("letter.txt");
        fs::write(&other, "precious").expect("write");
        let refused = bind_unix(&other).expect_err("no socket");
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists, "{refused}");
        assert_eq!(fs::read(&other).expect("still there"), b"precious");
    }

    #[test]
    fn a_file_goes_with_its_owner_and_with_nobody_else() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("web.sock");
        let listener = bind_unix(&path).expect("bound");
        let mut file = SocketFile::at(&path).expect("there");
        drop(SocketFile::at(&path).expect("there"));
        assert!(path.exists(), "who has not taken it removes nothing");
        file.take();
        file.leave();
        drop(file);
        assert!(path.exists(), "it was left to somebody");
        let mut heir = SocketFile::at(&path).expect("there");
        heir.take();
        drop((heir, listener));
        assert!(!path.exists());
        let _listener = bind_unix(&path).expect("bound");
        let mut file = SocketFile::at(&path).expect("there");
        file.take();
        fs::remove_file(&path).expect("removed");
        let _other = bind_unix(&path).expect("another process's");
        drop(file);
        assert!(path.exists(), "another socket is there now");
    }
}
