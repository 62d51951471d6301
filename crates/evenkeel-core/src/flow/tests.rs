use super::*;
use crate::address::BackendAddress;
use crate::health::{ProbeFault, ProbeResult};
use crate::plan::{BackendPlan, HealthCheck, PoolPlan};
use crate::strategy::StrategyName;
use std::collections::HashMap;

const BACKENDS: usize = 3;
const IDLE: Duration = Duration::from_millis(100);
const MAX_FLOWS: usize = 12;
const STEPS: u32 = 20_000;

fn pool_plan(strategy: StrategyName, backends: usize) -> PoolPlan {
    let backend = |at: usize| {
        let address = BackendAddress::parse(&format!("127.0.0.1:{}", 1 + at)).expect("valid");
        BackendPlan::bare(address)
    };
    let mut plan = PoolPlan::bare("p", (0..backends).map(backend).collect());
    plan.strategy = strategy;
    plan.health.check = HealthCheck::Tcp;
    plan
}

fn client(number: u64) -> SocketAddr {
    let ip = u8::try_from(number % 5).expect("small");
    SocketAddr::from(([10, 0, 0, ip], 1000 + u16::try_from(number).expect("small")))
}

struct World {
    flows: Flows<()>,
    pool: Arc<Pool>,
    open: Arc<AtomicUsize>,
    now: Nanos,
}

impl World {
    fn of(strategy: StrategyName) -> World {
        let pool = Arc::new(Pool::new(pool_plan(strategy, BACKENDS), None));
        World { flows: Flows::default(), pool, open: Arc::default(), now: Nanos(1) }
    }

    fn datagram(&mut self, client: SocketAddr, draw: u64) -> Result<Step, Dropped> {
        let terms =
            Terms { pool: &self.pool, open: &self.open, max_flows: MAX_FLOWS, now: self.now, draw };
        self.flows.datagram(client, &terms, || Some(()))
    }

    fn backend_of(&self, client: SocketAddr) -> Option<usize> {
        self.flows.flows.get(&client.into()).map(|flow| flow.pick.index)
    }

    fn set_healthy(&self, index: usize, healthy: bool) {
        for _ in 0..3 {
            let fault = (!healthy).then_some(ProbeFault::Timeout);
            let result = ProbeResult { at: self.now, took: Duration::ZERO, fault };
            self.pool.record_probe(index, result);
        }
    }

    fn check_invariants(&self) {
        let flows = &self.flows;
        assert!(flows.len() <= MAX_FLOWS);
        assert_eq!(self.open.load(Ordering::Relaxed), flows.len(), "places are the flows'");
        assert_eq!(flows.order.len(), flows.len());
        let filed = |(at, flow): (&Ends, &Flow<()>)| {
            flow.filed <= flow.seen && flows.order.contains(&(flow.filed, *at))
        };
        assert!(flows.flows.iter().all(filed));
        for (index, backend) in self.pool.backends.iter().enumerate() {
            let own = flows.flows.values().filter(|flow| flow.pick.index == index).count();
            assert_eq!(backend.in_flight() as usize, own, "flows count in flight");
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[test]
fn flows_stay_move_and_end_as_they_should() {
    for strategy in
        [StrategyName::LeastConnections, StrategyName::ConsistentHash, StrategyName::RoundRobin]
    {
        for seed in 0..4 {
            simulate(strategy, seed);
        }
    }
}

fn simulate(strategy: StrategyName, seed: u64) {
    let mut world = World::of(strategy);
    let mut chance = Chance(seed);
    let mut healthy = [true; BACKENDS];
    // When each client's flow was last used.
    let mut model: HashMap<SocketAddr, Nanos> = HashMap::new();
    let mut full = 0;
    for step in 0..STEPS {
        let draw = chance.next();
        let from = client(chance.next() % 20);
        match draw % 100 {
            0..70 => {
                let before = world.backend_of(from);
                let came = world.datagram(from, draw);
                let at = format!("{strategy:?} {seed} {step}: {before:?} {came:?}");
                match came {
                    Ok(Step::Known) => assert_eq!(before, world.backend_of(from), "{at}"),
                    Ok(Step::Chosen) => {
                        assert!(before.is_none_or(|before| !healthy[before]), "{at}");
                        let chosen = world.backend_of(from).expect(&at);
                        assert!(healthy[chosen], "{at}");
                    }
                    Err(Dropped::Full) => {
                        assert!(before.is_none() && model.len() == MAX_FLOWS, "{at}");
                        full += 1;
                    }
                    Err(Dropped::NoBackend) => assert!(!healthy.contains(&true), "{at}"),
                }
                if came.is_ok() {
                    model.insert(from, world.now);
                } else {
                    model.remove(&from);
                }
            }
            70..80 => {
                let found = world.flows.touch(from, world.now).is_some();
                assert_eq!(found, model.contains_key(&from));
                model.entry(from).and_modify(|seen| *seen = world.now);
            }
            80..97 => {
                world.now = world.now.after(Duration::from_millis(draw >> 32 & 31));
                world.flows.end_idle(world.now, IDLE);
                model.retain(|_, seen| seen.after(IDLE) > world.now);
            }
            _ => {
                let index = usize::try_from((draw >> 32) % BACKENDS as u64).expect("small");
                healthy[index] = !healthy[index];
                world.set_healthy(index, healthy[index]);
            }
        }
        world.check_invariants();
        assert_eq!(world.flows.len(), model.len(), "{strategy:?} {seed} {step}");
    }
    assert!(full > 0, "the bound was reached");
}

#[test]
fn the_least_busy_gets_the_next_flow() {
    let mut world = World::of(StrategyName::LeastConnections);
    for number in 0..9 {
        assert_eq!(world.datagram(client(number), number), Ok(Step::Chosen));
    }
    let busy: Vec<u32> = world.pool.backends.iter().map(|backend| backend.in_flight()).collect();
    assert_eq!(busy, [3, 3, 3]);
}

#[test]
fn a_client_address_keeps_its_backend() {
    for strategy in [StrategyName::ConsistentHash, StrategyName::Maglev] {
        let mut world = World::of(strategy);
        let at = |port: u16| SocketAddr::from(([192, 0, 2, 7], port));
        let backends: Vec<_> = (1..9)
            .map(|port| {
                assert_eq!(world.datagram(at(port), u64::from(port)), Ok(Step::Chosen));
                world.backend_of(at(port)).expect("a flow")
            })
            .collect();
        assert!(backends.iter().all(|backend| *backend == backends[0]), "{backends:?}");
    }
}

#[test]
fn another_configuration_moves_only_those_whose_backend_is_gone() {
    let mut world = World::of(StrategyName::RoundRobin);
    let clients: Vec<_> = (0..6).map(client).collect();
    for from in &clients {
        assert_eq!(world.datagram(*from, 0), Ok(Step::Chosen));
    }
    let before: Vec<_> = clients.iter().map(|from| world.backend_of(*from)).collect();
    let plan = pool_plan(StrategyName::RoundRobin, BACKENDS - 1);
    world.pool = world.pool.replanned(&plan, None, world.now);
    for (from, before) in clients.iter().zip(before) {
        let stays = before != Some(BACKENDS - 1);
        let expected = if stays { Step::Known } else { Step::Chosen };
        assert_eq!(world.datagram(*from, 0), Ok(expected), "{before:?}");
        assert!(!stays || world.backend_of(*from) == before);
    }
    world.check_invariants();
}

#[test]
fn without_room_of_the_caller_nothing_is_left_behind() {
    let mut world = World::of(StrategyName::RoundRobin);
    let terms = Terms {
        pool: &world.pool,
        open: &world.open,
        max_flows: MAX_FLOWS,
        now: world.now,
        draw: 0,
    };
    assert_eq!(world.flows.datagram(client(0), &terms, || None), Err(Dropped::Full));
    world.check_invariants();
}
