//! One node and its lives: load, death, restart, and what must be true then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chasen_client::Client;
use serde_json::Value;

use crate::load::Load;
use crate::node::{Node, Place, cut_power};
use crate::oracle::{self, Evidence, Request, Sort};
use crate::random::Random;
use crate::tally::{Casualty, Death, Tally};
use crate::witness::{Note, Witness};
use crate::{deployed, now};

/// Requests in one life, at most.
const REQUESTS: u64 = 60;
/// A kill comes within so many milliseconds after the answer that it waits for.
const MOMENT: u64 = 30;
/// About as many writes as the requests of one life lead to.
const WRITES: u64 = 300;
/// Places of a write, or of the commit after it, where the node can die.
const PLACES: [&str; 5] = ["before", "torn", "after", "unsynced", "synced"];
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(5);
/// Records on a page of the list.
const PAGE: usize = 200;
/// Violations that are told in full; more say nothing new.
const TOLD: usize = 20;

/// How the lives of a lane end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Killed.
    Kill,
    /// At every write of the log in turn, and killed in between.
    AtWrites,
    /// Killed, with a power cut.
    PowerCut,
    /// Killed, with a log that says yes before it has written.
    Sabotaged,
}

/// What the lanes of a campaign share.
#[derive(Debug, Clone)]
pub struct Campaign {
    /// Deaths that are still due.
    pub left: Arc<AtomicU64>,
    /// Who sees every run.
    pub witness: Witness,
    /// What is asked for.
    pub sorts: Vec<Sort>,
    /// Longest time from a restart until everything has ended.
    pub patience: Duration,
}

/// A lane.
pub struct Lane {
    campaign: Campaign,
    manner: Manner,
    place: Place,
    random: Random,
    load: Load,
    /// Write at which the next life ends, and where: counts through [`PLACES`] first.
    write: u64,
    tally: Tally,
    /// Requests that were settled: none of them may run again.
    settled: Vec<Request>,
    /// When the power was cut last; 0 if never.
    power_cut: u64,
}

impl Lane {
    /// A lane with its own folder, numbers and requests.
    #[must_use]
    pub fn new(campaign: Campaign, manner: Manner, place: Place, seed: u64, number: u64) -> Self {
        let load = Load::new(campaign.sorts.clone(), Random::new(seed, 2 * number), number * 1_000_000_000);
        Self {
            campaign,
            manner,
            place,
            random: Random::new(seed, 2 * number + 1),
            load,
            write: 0,
            tally: Tally::default(),
            settled: Vec::new(),
            power_cut: 0,
        }
    }

    /// Lives and dies until nothing more is due, or something is wrong; what came of it.
    pub async fn run(mut self) -> Tally {
        self.deploy().await;
        let mut is_calm = true;
        while self.tally.violations.is_empty() && self.is_due() {
            is_calm = self.life(is_calm).await;
        }
        if self.tally.violations.is_empty() {
            self.last_life().await;
        }
        self.tally.refused = self.load.refused();
        if !self.tally.violations.is_empty() {
            self.tally.violations.truncate(TOLD);
            if self.manner != Manner::Sabotaged {
                eprintln!("{:?}: last words of the node:\n{}", self.manner, self.place.last_words());
            }
        }
        self.tally
    }

    fn is_due(&self) -> bool {
        let left = &self.campaign.left;
        left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    async fn deploy(&mut self) {
        let mut node = self.place.start(&[]).expect("a node starts in an empty folder");
        deployed::deploy(node.client()).await;
        node.stop();
    }

    /// One life and its end; `is_calm` says whether this one may first bring everything to its end. True if the next
    /// one may.
    async fn life(&mut self, is_calm: bool) -> bool {
        let at_write = self.manner == Manner::AtWrites && !is_calm;
        let faults = self.faults(at_write);
        let Some(mut node) = self.start(&faults) else {
            assert!(at_write, "a node without a fault starts:\n{}", self.place.last_words());
            self.died(Death::AtWrite);
            return true;
        };
        if is_calm && !self.settle(&node).await {
            node.kill();
            return true;
        }
        let client = node.client().clone();
        self.load.ask_again(&client).await;
        let clients = self.load.begin(&client, REQUESTS);
        let death = match at_write && self.end_at_write(&mut node).await {
            true => Death::AtWrite,
            false if at_write => Death::Kill,
            false => self.end_by_kill(&mut node).await,
        };
        node.kill();
        self.died(death);
        for client in clients {
            client.await.expect("a client ends");
        }
        let wrong = self.load.wrong();
        self.tally.violations.extend(wrong);
        // Now and then the next life ends in the middle of recovery.
        at_write || (self.manner != Manner::AtWrites && !self.random.one_in(4))
    }

    /// Brings everything to its end, and looks once more for what ran again.
    async fn last_life(&mut self) {
        for _ in 0..2 {
            let Some(mut node) = self.start(&[]) else {
                self.tally.violations.push("the node does not start any more".to_owned());
                return;
            };
            let client = node.client().clone();
            self.load.ask_again(&client).await;
            self.settle(&node).await;
            self.look_for_doubles(&client).await;
            node.stop();
        }
        let notes = |request: &Request| self.campaign.witness.of(request.token);
        let again: Vec<_> =
            self.settled.iter().flat_map(|request| oracle::ran_twice(request, &notes(request))).collect();
        self.tally.violations.extend(again);
    }

    fn start(&mut self, faults: &[String]) -> Option<Node> {
        let begun = Instant::now();
        let node = self.place.start(faults);
        self.tally.slowest_start = self.tally.slowest_start.max(begun.elapsed());
        node
    }

    fn faults(&mut self, at_write: bool) -> Vec<String> {
        let mark = format!("synced-mark={}", self.place.mark().display());
        match self.manner {
            Manner::Kill => Vec::new(),
            Manner::AtWrites if !at_write => Vec::new(),
            Manner::AtWrites => {
                let places = PLACES.len() as u64;
                let place = PLACES[usize::try_from(self.write % places).unwrap_or_default()];
                // One write after the other, and in turns with that any write of a life.
                let number = match self.write / places % 2 {
                    0 => 1 + self.write / places / 2,
                    _ => 1 + self.random.below(WRITES),
                };
                self.write += 1;
                vec![format!("die-at-write={number}:{place}")]
            }
            Manner::PowerCut => vec![mark],
            Manner::Sabotaged => vec!["acknowledge-before-write".to_owned()],
        }
    }

    /// Waits until the node has died by itself; false if it got through everything.
    async fn end_at_write(&self, node: &mut Node) -> bool {
        loop {
            if node.has_died() {
                return true;
            }
            if self.load.is_sent() {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits for the moment of the kill, and kills.
    async fn end_by_kill(&mut self, node: &mut Node) -> Death {
        let answers = 1 + self.random.below(REQUESTS / 2);
        let more = Duration::from_millis(self.random.below(MOMENT));
        while self.load.acknowledged() < answers && !self.load.is_sent() && !node.has_died() {
            tokio::time::sleep(LOOK).await;
        }
        tokio::time::sleep(more).await;
        if node.has_died() {
            let what = format!("the node died by itself:\n{}", self.place.last_words());
            self.tally.violations.push(what);
        }
        node.kill();
        if self.manner != Manner::PowerCut {
            return Death::Kill;
        }
        cut_power(&self.place);
        self.power_cut = now();
        Death::PowerCut
    }

    fn died(&mut self, death: Death) {
        self.tally.casualties.push(Casualty { death, at: now(), hit: false });
    }

    /// Waits until everything that was acknowledged, and everything that ran, has its record, and judges it. False if
    /// the node did not live as long.
    async fn settle(&mut self, node: &Node) -> bool {
        let client = node.client().clone();
        let deadline = Instant::now() + self.campaign.patience;
        let requests = self.load.requests();
        let mut open = Vec::new();
        for request in &requests {
            if self.may_be_lost(request) && request.ids.is_empty() {
                continue;
            }
            if request.sort == Sort::Keyed && request.ids.is_empty() {
                open.push(request.token);
                continue;
            }
            // What may be lost is not waited for.
            let deadline = if self.may_be_lost(request) { Instant::now() } else { deadline };
            let Some((records, notes)) = self.records(&client, request, deadline).await else { return false };
            let dead = self.dead(&client, &records).await;
            self.close(request, &records, &notes, &dead);
        }
        self.settled.extend(requests.iter().filter(|request| !open.contains(&request.token)).cloned());
        self.load.keep(&open);
        self.look_for_doubles(&client).await;
        true
    }

    /// True for what a power cut may have taken the record of.
    fn may_be_lost(&self, request: &Request) -> bool {
        request.sort.is_in_memory() && self.power_cut > 0
    }

    fn close(
        &mut self,
        request: &Request,
        records: &BTreeMap<String, Value>,
        notes: &[Note],
        dead: &BTreeSet<String>,
    ) {
        let evidence = Evidence { records, notes, dead };
        let wrong = match self.may_be_lost(request) {
            true => oracle::ran_twice(request, notes),
            false => oracle::judge(request, &evidence),
        };
        self.tally.violations.extend(wrong);
        for casualty in &mut self.tally.casualties {
            casualty.hit |= oracle::was_under_way(request, &evidence, casualty.at);
        }
        self.tally.count(request);
        self.tally.runs += notes.len() as u64;
        self.tally.dead += dead.len() as u64;
        let is_cut = |record: &&Value| record["response"]["result"]["error"] == oracle::INTERRUPTED;
        self.tally.interrupted += records.values().filter(is_cut).count() as u64;
    }

    /// Records of a request, of what they name, and of what was seen of it, which comes with them: somebody whom nobody
    /// answered may be under way still. What is not there in time is left out. Nothing if nobody answers.
    async fn records(
        &self,
        client: &Client,
        request: &Request,
        deadline: Instant,
    ) -> Option<(BTreeMap<String, Value>, Vec<Note>)> {
        let mut records = BTreeMap::new();
        let mut wanted: Vec<String> = request.ids.clone();
        loop {
            let notes = self.campaign.witness.of(request.token);
            let seen = notes.iter().map(|note| note.id.clone());
            wanted.extend(seen.filter(|id| !records.contains_key(id)));
            if wanted.is_empty() {
                return Some((records, notes));
            }
            while let Some(id) = wanted.pop() {
                if records.contains_key(&id) {
                    continue;
                }
                loop {
                    let reply = client.activation(&id).await.ok()?;
                    if reply.status.is_success() {
                        let record = reply.json();
                        wanted.extend(oracle::caused(&record));
                        records.insert(id, record);
                        break;
                    }
                    if Instant::now() > deadline {
                        break;
                    }
                    tokio::time::sleep(LOOK).await;
                }
            }
            if Instant::now() > deadline {
                return Some((records, notes));
            }
        }
    }

    /// Those of these that are dead letters.
    async fn dead(&self, client: &Client, records: &BTreeMap<String, Value>) -> BTreeSet<String> {
        let mut dead = BTreeSet::new();
        for (id, record) in records {
            let response = &record["response"];
            if response["status"] == "whisk internal error"
                && response["result"]["error"] != oracle::INTERRUPTED
            {
                let letter = client.get(&format!("/api/v1/namespaces/_/dead-letters/{id}")).await;
                if letter.is_ok_and(|letter| letter.status.is_success()) {
                    dead.insert(id.clone());
                }
            }
        }
        dead
    }

    /// Looks through the list of records for one that is there twice.
    async fn look_for_doubles(&mut self, client: &Client) {
        let (since, upto) = (now().saturating_sub(60_000), now());
        let mut seen = BTreeSet::new();
        let mut suspects = Vec::new();
        for page in 0.. {
            let Some(list) = page_of(client, since, upto, page).await else { return };
            for (id, start) in &list {
                if !seen.insert(id.clone()) {
                    suspects.push((id.clone(), *start));
                }
            }
            if list.len() < PAGE {
                break;
            }
        }
        // A record that comes meanwhile moves others to the next page; on one page nothing moves.
        for (id, start) in suspects {
            let Some(list) = page_of(client, start, start, 0).await else { return };
            if list.iter().filter(|(own, _)| *own == id).count() > 1 {
                self.tally.violations.push(format!("{id} has two records"));
            }
        }
    }
}

/// Ids and starts of the records on a page of the list.
async fn page_of(client: &Client, since: u64, upto: u64, page: usize) -> Option<Vec<(String, u64)>> {
    let skip = page * PAGE;
    let path = format!("/api/v1/namespaces/_/activations?limit={PAGE}&skip={skip}&since={since}&upto={upto}");
    let list = client.get(&path).await.ok()?.json();
    let summary = |one: &Value| Some((one["activationId"].as_str()?.to_owned(), one["start"].as_u64()?));
    Some(list.as_array()?.iter().filter_map(summary).collect())
}
