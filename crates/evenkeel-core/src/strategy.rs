//! Which eligible backend takes the next request.

pub mod hash;
pub mod least_connections;
pub mod least_response_time;
pub mod maglev;
pub mod power_of_two;
pub mod random;
pub mod ring;
pub mod round_robin;
pub mod weighted;

/// The balancing algorithm of a pool, by its canonical name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StrategyName {
    /// In turn.
    RoundRobin,
    /// Smooth weighted turn.
    WeightedRoundRobin,
    /// Drawn in proportion to weight.
    WeightedRandom,
    /// Drawn evenly.
    Random,
    /// Fewest in flight per weight.
    LeastConnections,
    /// Lowest peak EWMA of response time.
    LeastResponseTime,
    /// The less busy of two drawn.
    PowerOfTwo,
    /// Hash ring with virtual nodes.
    ConsistentHash,
    /// Maglev lookup table.
    Maglev,
}

/// Every spelling: the canonical name first, then its aliases.
pub const STRATEGY_NAMES: &[(StrategyName, &[&str])] = &[
    (StrategyName::RoundRobin, &["round_robin", "rr"]),
    (StrategyName::WeightedRoundRobin, &["weighted_round_robin", "weighted", "wrr"]),
    (StrategyName::WeightedRandom, &["weighted_random"]),
    (StrategyName::Random, &["random"]),
    (StrategyName::LeastConnections, &["least_connections", "least_conn", "leastconn"]),
    (StrategyName::LeastResponseTime, &["least_response_time", "least_response", "ewma"]),
    (StrategyName::PowerOfTwo, &["power_of_two", "p2c"]),
    (StrategyName::ConsistentHash, &["consistent_hash", "ring", "ip_hash"]),
    (StrategyName::Maglev, &["maglev"]),
];

impl StrategyName {
    /// Looks a spelling up: lower case, `-` = `_`. `None` if no strategy is called so.
    pub fn parse(text: &str) -> Option<StrategyName> {
        let wanted = text.to_ascii_lowercase().replace('-', "_");
        let found = STRATEGY_NAMES.iter().find(|(_, names)| names.contains(&wanted.as_str()));
        found.map(|(name, _)| *name)
    }

    /// The canonical spelling.
    pub fn as_str(self) -> &'static str {
        let found = STRATEGY_NAMES.iter().find(|(name, _)| *name == self);
        found.map_or("", |(_, names)| names[0])
    }
}
