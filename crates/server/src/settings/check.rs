//! What no single key can know: settings that must go together.

use std::net::IpAddr;

use chasen_embedded::ParameterKeys;
use chasen_entity::{ByteSize, EntityName};

use super::reader::Reader;
use super::tree::{Limits, NamespaceLimits, Server, Settings, Tls};
use super::value::Auto;

/// Longest code of an action; settings may only lower it.
pub(super) const MAX_EXEC: ByteSize = ByteSize::mb(48);
/// Longest list page that makes sense to hold in memory.
const MAX_LIST: u32 = 10_000;
/// Shortest password of administrators.
const MIN_PASSWORD: usize = 12;
/// Fewest connections of a door.
const MIN_CONNECTIONS: u32 = 16;
/// Longest host name.
const MAX_HOST: usize = 253;
/// Most network namespaces that are kept ready.
const MAX_PREPARED_NETWORKS: u32 = 256;
/// Most cells that can be kept ready for one kind and memory.
const MAX_PREPARED_CELLS: u32 = 32;
/// Least memory of a build, in MB.
const MIN_BUILD_MEMORY: u64 = 64;

impl Settings {
    /// Notes everything that does not.
    pub(super) fn check(&self, reader: &mut Reader) {
        let limits = &self.limits;
        ordered(
            reader,
            "limits.action-timeout",
            limits.action_timeout_min,
            limits.action_timeout_default,
            limits.action_timeout_max,
        );
        ordered(
            reader,
            "limits.action-memory",
            limits.action_memory_min,
            limits.action_memory_default,
            limits.action_memory_max,
        );
        ordered(
            reader,
            "limits.action-logs",
            limits.action_logs_min,
            limits.action_logs_default,
            limits.action_logs_max,
        );
        ordered(
            reader,
            "limits.action-concurrency",
            1,
            limits.action_concurrency_default,
            limits.action_concurrency_max,
        );
        reader.require(limits.exec_max <= MAX_EXEC, || {
            format!("limits.exec-max is larger than {MAX_EXEC}, the most that there is")
        });
        for (name, size) in [("parameters", limits.parameters_max), ("payload", limits.payload_max)] {
            reader.require(size <= MAX_EXEC, || {
                format!("limits.{name}-max is larger than {MAX_EXEC}: requests have no room for more")
            });
        }
        reader.require((1..=MAX_LIST).contains(&limits.list_max), || {
            format!("limits.list-max is not in 1 to {MAX_LIST}")
        });
        reader.require((1..=limits.list_max).contains(&limits.list_default), || {
            "limits.list-default is not in 1 to limits.list-max".to_owned()
        });
        self.namespace_limits.check(limits, reader);
        self.server.check(reader);
        let credentials = self.admin.credentials.0.as_deref();
        reader.require(credentials.is_none_or(|text| text.split_once(':').is_some_and(|(user, password)| !user.is_empty() && password.len() >= MIN_PASSWORD)), || {
            format!("admin.credentials is not USER:PASSWORD with a password of at least {MIN_PASSWORD} characters")
        });
        let memory = self.node.memory.0;
        reader.require(memory.is_none_or(|memory| memory >= limits.action_memory_min), || {
            "node.memory is less than limits.action-memory-min: no action could run".to_owned()
        });
        for name in &self.node.dedicated_namespaces {
            reader.require(EntityName::new(name).is_some(), || {
                format!("node.dedicated-namespaces: '{name}' cannot be the name of a namespace")
            });
        }
        reader.require(self.scheduler.cpu_pressure.0.is_none_or(|percent| percent <= 100), || {
            "scheduler.cpu-pressure is larger than 100 percent, which never comes: write unlimited".to_owned()
        });
        reader.require(self.sandbox.prepared_networks <= MAX_PREPARED_NETWORKS, || {
            format!(
                "sandbox.prepared-networks is larger than {MAX_PREPARED_NETWORKS}, which no start can use up"
            )
        });
        reader.require(self.sandbox.prepared_cells <= MAX_PREPARED_CELLS, || {
            format!("sandbox.prepared-cells is larger than {MAX_PREPARED_CELLS}")
        });
        reader.require(self.sandbox.build_memory >= ByteSize::mb(MIN_BUILD_MEMORY), || {
            format!(
                "sandbox.build-memory is less than {MIN_BUILD_MEMORY} MB, in which nothing can be compiled"
            )
        });
        if let Err(error) = ParameterKeys::new(&self.parameter_storage.keys()) {
            reader.require(false, || format!("parameter-storage: {error}"));
        }
    }
}

impl Server {
    /// The door must be one, and let somebody in.
    fn check(&self, reader: &mut Reader) {
        let Tls { certificate, key, acme_domains, acme_contact, acme_directory, .. } = &self.tls;
        reader.require(certificate.0.is_some() == key.0.is_some(), || {
            "server.tls.certificate and server.tls.key go together: give both, or none".to_owned()
        });
        reader.require(certificate.0.is_none() || acme_domains.is_empty(), || {
            "server.tls.certificate and server.tls.acme.domains exclude each other: give one of them"
                .to_owned()
        });
        reader.require(acme_domains.iter().all(|name| is_certifiable(name)), || {
            "server.tls.acme.domains is not a list of host names or addresses; a name with * needs server.tls.certificate".to_owned()
        });
        reader.require(acme_contact.is_empty() || acme_contact.contains('@'), || {
            "server.tls.acme.contact is not an e-mail address".to_owned()
        });
        reader.require(acme_directory.starts_with("https://"), || {
            "server.tls.acme.directory does not begin with https://".to_owned()
        });
        reader.require(self.connections >= MIN_CONNECTIONS, || {
            format!("server.connections is less than {MIN_CONNECTIONS}, too few to serve anybody well")
        });
        reader.require(self.connections_per_address.0.is_none_or(|most| most >= 1), || {
            "server.connections-per-address is 0: nobody could connect".to_owned()
        });
    }
}

/// True for what an authority can certify after a look at a door.
fn is_certifiable(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.parse::<IpAddr>().is_ok() || (name.len() <= MAX_HOST && name.split('.').all(label))
}

impl NamespaceLimits {
    /// They must lie within the platform's.
    fn check(&self, system: &Limits, reader: &mut Reader) {
        within(
            reader,
            "action-timeout",
            [self.action_timeout_min, self.action_timeout_max],
            [system.action_timeout_min, system.action_timeout_max],
        );
        within(
            reader,
            "action-memory",
            [self.action_memory_min, self.action_memory_max],
            [system.action_memory_min, system.action_memory_max],
        );
        within(
            reader,
            "action-logs",
            [self.action_logs_min, self.action_logs_max],
            [system.action_logs_min, system.action_logs_max],
        );
        within(
            reader,
            "action-concurrency",
            [self.action_concurrency_min, self.action_concurrency_max],
            [1, system.action_concurrency_max],
        );
        for (name, own, system) in [
            ("parameters-max", self.parameters_max, system.parameters_max),
            ("payload-max", self.payload_max, system.payload_max),
            ("payload-truncation", self.payload_truncation, system.payload_truncation),
        ] {
            reader.require(own.0.is_none_or(|own| own <= system), || {
                format!("namespace-limits.{name} is larger than limits.{name}")
            });
        }
    }
}

/// Lowest, usual and highest value, in this order.
fn ordered<T: PartialOrd>(reader: &mut Reader, name: &str, min: T, usual: Auto<T>, max: T) {
    reader.require(min <= max, || format!("{name}-min is larger than {name}-max"));
    let good = usual.0.is_none_or(|usual| min > max || (min <= usual && usual <= max));
    reader.require(good, || format!("{name}-default is not within {name}-min and {name}-max"));
}

/// Both bounds within the platform's, and in order.
fn within<T: PartialOrd + Copy>(reader: &mut Reader, name: &str, own: [Auto<T>; 2], system: [T; 2]) {
    let [low, high] = system;
    for (bound, value) in ["min", "max"].into_iter().zip(own) {
        reader.require(value.0.is_none_or(|value| low <= value && value <= high), || {
            format!("namespace-limits.{name}-{bound} is not within what limits.{name} allows")
        });
    }
    let [min, max] = own;
    reader.require(!matches!((min.0, max.0), (Some(min), Some(max)) if min > max), || {
        format!("namespace-limits.{name}-min is larger than namespace-limits.{name}-max")
    });
}
