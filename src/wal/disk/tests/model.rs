//! Any sequence of operations, beside the log in memory that shows what must come out.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::faults::{Faults, faulty};
use super::*;
use crate::wal::memory::{Fate, Kept, Memory};

#[derive(Clone, Debug)]
enum Operation {
    Record(u32),
    Take(usize),
    Settle(prop::sample::Index),
    Postpone(prop::sample::Index, u64),
    Bury(prop::sample::Index),
    Turn(u64),
    Reopen,
    /// The machine stops. Of what was not synchronised, these reach the disk.
    Crash(Vec<bool>),
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        6 => (0..12_u32).prop_map(Operation::Record),
        5 => (1..4_usize).prop_map(Operation::Take),
        3 => any::<prop::sample::Index>().prop_map(Operation::Settle),
        2 => (any::<prop::sample::Index>(), 0..20_u64).prop_map(|(which, wait)| Operation::Postpone(which, wait)),
        1 => any::<prop::sample::Index>().prop_map(Operation::Bury),
        2 => (1..15_u64).prop_map(Operation::Turn),
        1 => Just(Operation::Reopen),
        1 => proptest::collection::vec(any::<bool>(), 40).prop_map(Operation::Crash),
    ];
    proptest::collection::vec(operation, 1..60)
}

/// Two locations, one of them ordered.
fn numbered(number: u32) -> Entry {
    if number.is_multiple_of(3) { entry(number, "/free", false) } else { entry(number, "/ordered", true) }
}

struct World {
    directory: TempDir,
    faults: Arc<Faults>,
    hands: Hands,
    log: Option<Disk>,
    model: Memory,
    out: Vec<Delivery>,
}

impl World {
    fn new() -> Self {
        let (directory, faults, hands) = (directory(), Faults::new(), Hands::at(NOW));
        let mut world =
            Self { directory, faults, hands, log: None, model: Memory::default(), out: Vec::new() };
        world.open();
        world
    }

    fn open(&mut self) {
        self.log = None;
        let place = faulty(&self.directory, &self.faults);
        self.log = Some(Disk::start(place, 1 << 30, self.hands.clock()).unwrap());
        self.out.clear();
        for kept in self.model.kept().iter_mut().filter(|kept| kept.fate == Fate::Out) {
            kept.fate = Fate::Waiting;
        }
    }

    fn log(&self) -> &Disk {
        self.log.as_ref().unwrap()
    }

    async fn run(&mut self, operation: Operation) {
        match operation {
            Operation::Record(number) => {
                let entry = numbered(number);
                assert_eq!(self.log().record(entry.clone()).await, self.model.record(entry).await);
            }
            Operation::Take(most) => {
                let expected = self.model.due(self.hands.now(), most);
                if !expected.is_empty() {
                    let taken = self.log().take(most).await.unwrap();
                    let facts = |deliveries: &[Delivery]| -> Vec<_> {
                        deliveries.iter().map(|it| (it.entry.clone(), it.attempt)).collect()
                    };
                    assert_eq!(facts(&taken), facts(&expected));
                    self.out.extend(taken);
                }
            }
            Operation::Settle(which) => {
                if let Some(delivery) = self.one_out(which) {
                    self.log().settle(&delivery).await.unwrap();
                    self.model.settle(&delivery).await.unwrap();
                }
            }
            Operation::Postpone(which, wait) => {
                if let Some(delivery) = self.one_out(which) {
                    let until = self.hands.now().plus(Duration::from_secs(wait));
                    self.log().postpone(&delivery, until).await.unwrap();
                    self.model.postpone(&delivery, until).await.unwrap();
                }
            }
            Operation::Bury(which) => {
                if let Some(delivery) = self.one_out(which) {
                    self.log().bury(&delivery, "no").await.unwrap();
                    self.model.bury(&delivery, "no").await.unwrap();
                }
            }
            Operation::Turn(seconds) => self.hands.turn(seconds),
            Operation::Reopen => self.open(),
            Operation::Crash(reached) => self.crash(&reached).await,
        }
    }

    fn one_out(&mut self, which: prop::sample::Index) -> Option<Delivery> {
        (!self.out.is_empty()).then(|| self.out.swap_remove(which.index(self.out.len())))
    }

    async fn crash(&mut self, reached: &[bool]) {
        self.faults.switch_off();
        self.log = None;
        let mut choice = reached.iter().copied().cycle();
        self.faults.switch_on(&faulty(&self.directory, &self.faults), || choice.next().unwrap());
        self.open();
        // What became of deliveries lately may be forgotten, and nothing else.
        let now = self.contents().await;
        for kept in self.model.kept().iter_mut() {
            let found = now.get(&kept.entry.path);
            match (&kept.fate, found) {
                (Fate::Settled, None) => {}
                (_, Some(Fate::Waiting)) => {}
                (Fate::Dead(_), Some(Fate::Dead(_))) => {}
                (fate, found) => panic!("{} was {fate:?} and is {found:?}", kept.entry.path),
            }
        }
        assert!(now.len() <= self.model.kept().len());
        self.adopt(&now).await;
    }

    /// Takes over what the crash has left.
    async fn adopt(&self, now: &BTreeMap<String, Fate>) {
        let (reply, answer) = oneshot::channel();
        let question = move |keeper: &mut Keeper| {
            let all = keeper.state.schedule.after(0);
            drop(reply.send(all.map(|(_, it)| (it.id, (it.attempts, it.due))).collect::<BTreeMap<_, _>>()));
        };
        self.log().send(Command::Ask(Box::new(question))).unwrap();
        let progress = answer.await.unwrap();
        for kept in self.model.kept().iter_mut() {
            kept.fate = now.get(&kept.entry.path).cloned().unwrap_or(Fate::Settled);
            if let Some((attempts, due)) = progress.get(&kept.entry.id) {
                (kept.attempts, kept.due) = (*attempts, *due);
            }
        }
    }

    /// What is in the file.
    async fn contents(&self) -> BTreeMap<String, Fate> {
        let (reply, answer) = oneshot::channel();
        let question = move |keeper: &mut Keeper| {
            let mut all = BTreeMap::new();
            let store = keeper.store().unwrap();
            store
                .walk(|sequence, kept, bytes| {
                    let path = record::open(sequence, bytes).unwrap().path;
                    let fate = match kept {
                        store::Kept::Waiting { .. } => Fate::Waiting,
                        store::Kept::Dead(death) => Fate::Dead(death.reason),
                    };
                    assert_eq!(all.insert(path, fate), None);
                })
                .unwrap();
            drop(reply.send(all));
        };
        self.log().send(Command::Ask(Box::new(question))).unwrap();
        answer.await.unwrap()
    }

    /// In the end, exactly what waits comes out, in its order.
    async fn finish(&mut self) {
        self.open();
        self.hands.turn(1000);
        let open = |kept: &Kept| kept.fate == Fate::Waiting;
        let expected = self.model.kept().iter().filter(|kept| open(kept)).count();
        assert_eq!(stats(self.log()).await.waiting, expected as u64);
        for _ in 0..expected {
            self.run(Operation::Take(1)).await;
            let delivery = self.out.pop().unwrap();
            self.log().settle(&delivery).await.unwrap();
            self.model.settle(&delivery).await.unwrap();
        }
        let last = stats(self.log()).await;
        let dead = self.model.kept().iter().filter(|kept| matches!(kept.fate, Fate::Dead(_))).count();
        assert_eq!((last.waiting, last.out, last.dead), (0, 0, dead as u64));
        assert!(dead > 0 || last.bytes == 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 3))]

    #[test]
    fn any_operations_do_what_the_log_in_memory_does(operations in operations()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for operation in operations {
                world.run(operation).await;
            }
            world.finish().await;
        });
    }
}
