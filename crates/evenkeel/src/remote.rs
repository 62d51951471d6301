//! Commands that ask a running evenkeel: where it is, who asks, and what came back.

use crate::arguments::AdminArguments;
use crate::system::runtime;
use crate::trouble::Trouble;
use evenkeel_api::{Client, ClientError};
use std::fs::File;
use std::future::Future;
use std::io::Read;

/// Where the admin listener is unless told otherwise.
pub(crate) const DEFAULT_ADMIN: &str = "http://127.0.0.1:9900";
/// The status of an answer to somebody unknown.
const UNAUTHORIZED: u16 = 401;
/// A token file that is larger is none.
const MAX_TOKEN_BYTES: u64 = 64 * 1024;

/// A client of the admin listener that the arguments name.
pub(crate) fn client(arguments: &AdminArguments) -> Result<Client, Trouble> {
    let base = arguments.url();
    let client = Client::new(base.as_deref().unwrap_or(DEFAULT_ADMIN)).map_err(refused)?;
    let Some(file) = &arguments.token_file else { return Ok(client) };
    let mut token = String::new();
    let read =
        File::open(file).and_then(|file| file.take(MAX_TOKEN_BYTES).read_to_string(&mut token));
    read.map_err(|error| {
        Trouble::Mistake(format!("cannot read the token in {}: {error}", file.display()))
    })?;
    client.token(token).map_err(refused)
}

/// Runs one call to its end.
pub(crate) fn ask<T>(call: impl Future<Output = Result<T, ClientError>>) -> Result<T, Trouble> {
    runtime()?.block_on(call).map_err(refused)
}

/// Why a call failed, for the person who made it.
pub(crate) fn refused(error: ClientError) -> Trouble {
    Trouble::Mistake(in_words(&error))
}

/// What failed, and the flag that helps.
pub(crate) fn in_words(error: &ClientError) -> String {
    let is_unknown = matches!(error, ClientError::Refused(it) if it.status == UNAUTHORIZED);
    let hint = if is_unknown { "\n  --token-file FILE names the file with yours" } else { "" };
    format!("{error}{hint}")
}
