//! What an autoscaler needs, by the kind of its driver.

use super::Check;
use crate::diagnostic::Fault;
use crate::plan::scale::{ports, redis};
use crate::scalar::{Text, uncallable};
use crate::sections::{Autoscale, Driver, DriverType};
use crate::tree::Value;
use evenkeel_core::address::BackendAddress;

/// What stands for the port of a process.
const PORT: &str = "{port}";

impl Check<'_> {
    pub(super) fn autoscale(&mut self, scale: &Autoscale, path: &str) {
        if scale.min.0 > scale.max.0 {
            let message = format!("{} is below `min`, {}", scale.max.0, scale.min.0);
            self.report(&format!("{path}.max"), message);
        }
        if scale.interval.0.is_zero() {
            let fault = Fault::new("0s would evaluate without end").hint("such as 15s");
            self.report(&format!("{path}.interval"), fault);
        }
        if !scale.lease.file.0.is_empty() && !scale.lease.redis.0.is_empty() {
            self.report(&format!("{path}.lease"), "`file` and `redis` exclude each other");
        }
        if !scale.lease.redis.0.is_empty() && redis(&scale.lease.redis.0).is_none() {
            let fault = Fault::new("this is no address of a Redis that can be reached");
            let fault = fault.hint("redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], without TLS");
            self.report(&format!("{path}.lease.redis"), fault);
        }
        self.driver(&scale.driver, &format!("{path}.driver"));
    }

    fn driver(&mut self, driver: &Driver, path: &str) {
        let url = driver.url.as_ref().map_or("", |url| &url.0);
        let missing = |text: &Option<Text>| text.as_ref().is_none_or(|text| text.0.is_empty());
        let needed = match driver.r#type {
            DriverType::Process | DriverType::Exec if driver.command.is_empty() => {
                Some(("command", r#"command: ["./app", "--port", "{port}"]"#))
            }
            DriverType::Docker if missing(&driver.image) => Some(("image", r#"image: "app:1""#)),
            DriverType::Docker if driver.port.is_none() => Some(("port", "port: 8080")),
            DriverType::Webhook if url.is_empty() => Some(("url", r#"url: "http://x/""#)),
            DriverType::Kubernetes if missing(&driver.deployment) => {
                Some(("deployment", "deployment: app"))
            }
            DriverType::Process
            | DriverType::Exec
            | DriverType::Docker
            | DriverType::Webhook
            | DriverType::Kubernetes => None,
        };
        // Of a driver or a type that is none, nobody knows what it needs.
        let kind = driver.r#type.as_str();
        let is_known = self.says(&format!("{path}.type"), kind);
        if let Some((key, example)) = needed.filter(|_| is_known) {
            let fault = Fault::new(format!("a driver of type `{kind}` needs `{key}`"));
            let key = format!("{path}.{key}");
            // A value of another kind is told by its reader.
            let is_told = self.tree.at(&key).is_some_and(|node| match &node.value {
                Value::Str(text) => !text.is_empty(),
                Value::Seq(items) => !items.is_empty(),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Map(_) => true,
            });
            if !is_told {
                self.report(&key, fault.hint(example));
            }
        }
        if let Some(text) = &driver.ports
            && ports(&text.0).is_none()
        {
            let fault = Fault::new(format!("{:?} is not a range of ports", text.0));
            self.report(&format!("{path}.ports"), fault.hint("such as 20000-20999"));
        }
        if let Some(Text(address)) = &driver.address
            && let Err(fault) = process_address(address)
        {
            self.report(&format!("{path}.address"), fault.hint("such as http://localhost:{port}"));
        }
        if let Some(why) = uncallable(url).filter(|_| !url.is_empty()) {
            let fault = Fault::new(why).hint("such as http://x/scale");
            self.report(&format!("{path}.url"), fault);
        }
    }
}

/// Each process has a port of its own, which its address must tell.
fn process_address(template: &str) -> Result<(), Fault> {
    if !template.contains(PORT) {
        return Err(Fault::new(format!("{template:?} is the same for every port")));
    }
    BackendAddress::parse(&template.replace(PORT, "1")).map(drop).map_err(Fault::new)
}
