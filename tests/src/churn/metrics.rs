//! What collection did in a run, by the nodes' own counters. They begin anew with each life of a process, so they are looked
//! at all the time; what a node counted after the last look before it was killed is lost, so the sums are a little low.

use crate::http::Client;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{task::JoinSet, time::sleep};

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(500);
/// A node that does not answer by then is away.
const LIMIT: Duration = Duration::from_secs(1);

/// Looks at the nodes' counters until it is dropped.
pub struct Watch {
    sums: Arc<Mutex<Sums>>,
    _task: JoinSet<()>,
}

#[derive(Default)]
struct Sums {
    /// By node and counter.
    last: BTreeMap<(usize, String), u64>,
    sums: BTreeMap<String, u64>,
}

impl Sums {
    fn see(&mut self, node: usize, page: &str) {
        for line in page.lines().filter(|line| line.starts_with("flotilla_gc_")) {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let Some(Ok(value)) = name.ends_with("_total").then(|| value.parse::<u64>()) else { continue };
            let last = self.last.insert((node, name.to_owned()), value).unwrap_or(0);
            // Fewer than before: another life.
            let more = if value < last { value } else { value - last };
            *self.sums.entry(name.to_owned()).or_default() += more;
        }
    }
}

impl Watch {
    /// Looks at these ops addresses.
    pub fn start(nodes: Vec<String>) -> Self {
        let (sums, mut task) = (Arc::<Mutex<Sums>>::default(), JoinSet::new());
        let seen = sums.clone();
        task.spawn(async move {
            let clients: Vec<_> = nodes.into_iter().map(|node| Client::new([node])).collect();
            loop {
                for (number, client) in clients.iter().enumerate() {
                    let page = tokio::time::timeout(LIMIT, client.get("/metrics")).await;
                    if let Ok(Ok(page)) = page {
                        let text = String::from_utf8_lossy(&page.body);
                        seen.lock().unwrap_or_else(PoisonError::into_inner).see(number, &text);
                    }
                }
                sleep(INTERVAL).await;
            }
        });
        Self { sums, _task: task }
    }

    /// How much `flotilla_gc_<what>_total` grew, on all nodes.
    pub fn of(&self, what: &str) -> u64 {
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        sums.sums.get(&format!("flotilla_gc_{what}_total")).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_summed_over_nodes_and_lives() {
        let mut sums = Sums::default();
        sums.see(0, "# TYPE flotilla_gc_x_total counter\nflotilla_gc_x_total 5\nflotilla_gc_y 9\nother_total 3");
        sums.see(1, "flotilla_gc_x_total 2");
        sums.see(0, "flotilla_gc_x_total 7");
        sums.see(0, "flotilla_gc_x_total 1");
        assert_eq!(sums.sums, [("flotilla_gc_x_total".to_owned(), 10)].into());
    }
}
