//! Keys of a pool that starts and stops backends by load.

use crate::key::Table;
use crate::scalar::{Ratio, Secret, Text, Time, Url, Whole};
use crate::section::{choice, section};

section! {
    /// Starts and stops backends by load.
    Autoscale {
        /// Fewest backends, those of `backends` included; 0 = scale to zero.
        min: Whole<0, 10_000> = Whole(1);
        /// Most backends.
        max: Whole<0, 10_000> = Whole(5);
        /// Between evaluations.
        interval: Time = Time::secs(15);
        /// The pool's requests in one interval: more ask for one more backend; 0 = not used. Left
        /// out, 20 if there is no other target.
        requests_per_interval: Option<Whole> = None;
        /// Target in flight per backend; 0 = not used.
        in_flight: Whole = Whole(0);
        /// Target wait in the queue; 0s = not used.
        queue_wait: Time = Time::secs(0);
        /// Target requests per second and backend; 0 = not used.
        rps: Whole = Whole(0);
        /// Target of the 95th percentile of response time; 0s = not used.
        p95: Time = Time::secs(0);
        /// Growth.
        scale_up: ScaleUp = ScaleUp::default();
        /// Shrinkage, once all signals are low.
        scale_down: ScaleDown = ScaleDown::default();
        /// Above it nothing is scaled: errors are not load.
        max_error_rate: Ratio = Ratio(0.1);
        /// Decide and report, but do nothing.
        dry_run: bool = false;
        /// Requests held while scaled to zero.
        buffer: ScaleBuffer = ScaleBuffer::default();
        /// Which of several balancers scales.
        lease: Lease = Lease::default();
        /// What starts and stops backends.
        driver: Driver = Driver::default(), required;
    }
}

section! {
    /// Growth.
    ScaleUp {
        /// Backends at a time.
        step: Whole<1, 1000> = Whole(1);
        /// Time a signal must hold.
        window: Time = Time::secs(15);
    }
}

section! {
    /// Shrinkage.
    ScaleDown {
        /// Backends at a time.
        step: Whole<1, 1000> = Whole(1);
        /// Time all signals must be low.
        after: Time = Time::secs(300);
        /// Least time between two steps.
        every: Time = Time::secs(60);
        /// Bound on finishing what is in flight.
        drain_timeout: Time = Time::secs(30);
    }
}

section! {
    /// Requests held while scaled to zero.
    ScaleBuffer {
        /// How many.
        requests: Whole = Whole(1000);
        /// How long.
        timeout: Time = Time::secs(30);
    }
}

section! {
    /// The holder of the lease scales, others advise.
    Lease {
        /// Lock file; empty = none.
        file: Text = Text::default();
        /// URL of a Redis; empty = none.
        redis: Secret = Secret::default();
    }
}

choice! {
    /// What starts and stops backends.
    DriverType ("a driver") {
        /// Child processes.
        Process = "process",
        /// Containers.
        Docker = "docker",
        /// A command that is told the count.
        Exec = "exec",
        /// A URL that is told the count.
        Webhook = "webhook",
        /// A deployment.
        Kubernetes = "kubernetes",
    }
}

section! {
    /// What starts and stops backends. `{port}`, `{name}`, `{pool}` and `{count}` are filled in.
    Driver {
        /// Its kind.
        r#type: DriverType = DriverType::Process, required;
        /// Command line; for process, docker and exec.
        command: Vec<Text> = Vec::new();
        /// Ports a process may get.
        ports: Option<Text> = None;
        /// Where a process is reached, as it is listed; `{port}` must stand in it, and nothing
        /// else is filled in. Default 127.0.0.1:{port}.
        address: Option<Text> = None;
        /// Environment of a process or container; values are not shown.
        env: Table<Text, Secret> = Table::default();
        /// Bound until a started backend is healthy.
        start_timeout: Time = Time::secs(30);
        /// Image of a container.
        image: Option<Text> = None;
        /// Port inside a container.
        port: Option<Whole<1, 65535>> = None;
        /// Network of a container.
        network: Option<Text> = None;
        /// Labels of a container.
        labels: Table<Text, Text> = Table::default();
        /// Socket of the container daemon.
        socket: Option<Text> = None;
        /// URL of a webhook; its query is not shown.
        url: Option<Url> = None;
        /// Bound of one webhook call.
        timeout: Time = Time::secs(10);
        /// Namespace of a deployment.
        namespace: Option<Text> = None;
        /// Name of a deployment.
        deployment: Option<Text> = None;
    }
}
