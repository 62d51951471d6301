//! Redis, as far as a lease needs it: a connection, commands and their answers (RESP 2, redis.io
//! "Redis serialization protocol"). Four commands, for which no client library is needed.

use evenkeel_core::autoscale::RedisPlan;
use std::io;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Bytes of a line or a text that are read.
const MAX_TEXT_BYTES: usize = 64 * 1024;

/// What Redis answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// `+OK`, or a text.
    Text(String),
    /// `:1`.
    Number(i64),
    /// There is none.
    Nothing,
}

/// A connection that takes commands, one after the other.
pub(super) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects, and logs in if need be.
    ///
    /// # Errors
    /// Nobody answers, or it refuses.
    pub(super) async fn open(address: &RedisPlan) -> io::Result<Connection> {
        let stream = TcpStream::connect((&*address.host, address.port)).await?;
        stream.set_nodelay(true)?;
        let mut connection = Connection { stream: BufReader::new(stream) };
        if let Some(password) = &address.password {
            let user = address.user.as_deref();
            let words = ["AUTH"].into_iter().chain(user).chain([&**password]);
            connection.ask(&words.collect::<Vec<_>>()).await?;
        }
        if address.database > 0 {
            connection.ask(&["SELECT", &address.database.to_string()]).await?;
        }
        Ok(connection)
    }

    /// Sends a command and reads its answer.
    ///
    /// # Errors
    /// The connection is broken, or the answer is an error or none that is known.
    pub(super) async fn ask(&mut self, words: &[&str]) -> io::Result<Answer> {
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            command.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.stream.write_all(command.as_bytes()).await?;
        let line = self.line().await?;
        let (kind, rest) = line.split_at_checked(1).unwrap_or_default();
        let number = || rest.parse::<i64>().map_err(|_| strange(&line));
        match kind {
            "+" => Ok(Answer::Text(rest.to_owned())),
            "-" => Err(io::Error::other(rest.to_owned())),
            ":" => number().map(Answer::Number),
            "$" => match usize::try_from(number()?) {
                Ok(length) => self.text(length).await.map(Answer::Text),
                Err(_) => Ok(Answer::Nothing),
            },
            _ => Err(strange(&line)),
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.stream).take(MAX_TEXT_BYTES as u64);
        bounded.read_until(b'\n', &mut line).await?;
        match line.strip_suffix(b"\r\n") {
            Some(line) => Ok(String::from_utf8_lossy(line).into_owned()),
            None if line.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            None => Err(strange(&String::from_utf8_lossy(&line))),
        }
    }

    async fn text(&mut self, length: usize) -> io::Result<String> {
        if length > MAX_TEXT_BYTES {
            return Err(strange("a text that is too long"));
        }
        let mut text = vec![0; length + 2];
        self.stream.read_exact(&mut text).await?;
        text.truncate(length);
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

fn strange(what: &str) -> io::Error {
    let start: String = what.chars().take(80).collect();
    io::Error::other(format!("not an answer of Redis: {start:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn commands_are_framed_and_answers_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answers = "+OK\r\n+OK\r\n:1\r\n$-1\r\n$2\r\nab\r\n-ERR no\r\n?\r\n";
            stream.write_all(answers.as_bytes()).await.unwrap();
            let mut asked = Vec::new();
            stream.read_to_end(&mut asked).await.unwrap();
            String::from_utf8(asked).unwrap()
        });
        let (user, password) = (Some("me".to_owned()), Some("pw".to_owned()));
        let host = "127.0.0.1".to_owned();
        let address = RedisPlan { host, port, user, password, database: 3 };
        let mut connection = Connection::open(&address).await.unwrap();
        assert_eq!(connection.ask(&["A"]).await.unwrap(), Answer::Number(1));
        assert_eq!(connection.ask(&["B"]).await.unwrap(), Answer::Nothing);
        assert_eq!(connection.ask(&["C"]).await.unwrap(), Answer::Text("ab".to_owned()));
        assert_eq!(connection.ask(&["D"]).await.unwrap_err().to_string(), "ERR no");
        let strange = connection.ask(&["E"]).await.unwrap_err().to_string();
        assert_eq!(strange, "not an answer of Redis: \"?\"");
        drop(connection);
        let asked = server.await.unwrap();
        let login = "*3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$2\r\npw\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n";
        assert!(asked.starts_with(login), "{asked}");
    }
}
