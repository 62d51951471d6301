//! `testserver`: one backend to play with.

use crate::arguments::TestserverArguments;
use crate::output::print;
use crate::signals::Signals;
use crate::system::{cannot_listen, runtime};
use crate::trouble::Trouble;
use evenkeel_load::{TestServer, TestServerOptions};
use std::io;

/// Serves until SIGINT or SIGTERM.
pub(crate) fn run(arguments: &TestserverArguments) -> Result<(), Trouble> {
    runtime()?.block_on(serve(arguments))
}

async fn serve(arguments: &TestserverArguments) -> Result<(), Trouble> {
    let mut signals = Signals::install()?;
    let name = arguments.name.clone().unwrap_or_else(|| default_name(arguments.listen.port()));
    let options = TestServerOptions {
        name: name.clone(),
        delay: arguments.delay,
        fail_rate: arguments.fail_rate,
        status: arguments.status,
        body_size: arguments.body_size,
    };
    let bound = TestServer::bind(arguments.listen, options).await;
    let server = bound.map_err(|error| {
        let options_refused = error.kind() == io::ErrorKind::InvalidInput;
        if options_refused {
            Trouble::Mistake(error.to_string())
        } else {
            cannot_listen(&arguments.listen.to_string(), &error)
        }
    })?;
    print(format_args!("{name} listens on http://{}/\n", server.local_addr()))?;
    let served = server.serve(signals.stop()).await;
    served.map_err(|error| Trouble::CannotStart(format!("cannot serve: {error}")))
}

fn default_name(port: u16) -> String {
    if port == 0 { "testserver".to_owned() } else { format!("testserver-{port}") }
}
