//! The task that writes a trace: it waits for notes, and asks the runner where a line lacks what an environment is made of.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hybrid_cache_model::contents::Contents;
use hybrid_cache_sizing::Volume;
use hybrid_cache_sizing::trace::{Definition, Header, Met, ResidentEnvironment, ResidentVolume, VERSION};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::files::{Given, Lack, TraceFolder};
use super::line::{Line, definition, now_us, of_volume, rest};
use super::{Message, Resident, Warnings};

/// Requests whose environments are remembered, for those that used them before they were published.
const REMEMBERED: usize = 4096;
/// How long a request waits for its environment to be published before it is left out.
const PUBLISHED: Duration = Duration::from_secs(60);
/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Lines that wait for something; beyond them the first ones are left out.
const WAITING: usize = 4096;

/// The writer.
pub struct Writer {
    folder: Option<TraceFolder>,
    max_age_s: u64,
    resident: Arc<dyn Resident>,
    warnings: Arc<Warnings>,
    queue: VecDeque<Line>,
    environments: HashMap<String, String>,
    /// When the runner was last asked.
    asked: Option<Instant>,
    lack: Lack,
    waits_since: Instant,
}

impl Writer {
    /// One that has written nothing.
    pub fn new(folder: TraceFolder, max_age_s: u64, resident: Arc<dyn Resident>, warnings: Arc<Warnings>) -> Writer {
        Writer {
            folder: Some(folder),
            max_age_s,
            resident,
            warnings,
            queue: VecDeque::new(),
            environments: HashMap::new(),
            asked: None,
            lack: Lack::Nothing,
            waits_since: Instant::now(),
        }
    }

    /// Writes until nobody can send any more.
    pub async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        loop {
            let look = Instant::now() + LOOK;
            let message = tokio::select! {
                message = messages.recv() => message.map(Some),
                () = tokio::time::sleep_until(look), if self.lack != Lack::Nothing => Some(None),
            };
            let mut flushed = Vec::new();
            let is_last = message.is_none();
            self.take(message.flatten(), &mut flushed);
            while let Ok(message) = messages.try_recv() {
                self.take(Some(message), &mut flushed);
            }
            self.write(is_last || !flushed.is_empty()).await;
            for told in flushed {
                // Whoever waited may have gone.
                let _ = told.send(());
            }
            if is_last {
                return;
            }
        }
    }

    fn take(&mut self, message: Option<Message>, flushed: &mut Vec<oneshot::Sender<()>>) {
        match message {
            Some(Message::Note(line)) => {
                self.remember(&line);
                self.queue.push_back(*line);
                if self.queue.len() > WAITING {
                    self.queue.pop_front();
                    let told = "what environments are made of could not be found out in time: requests are left out";
                    self.warnings.add(|| told.to_owned());
                }
            }
            Some(Message::Flush(told)) => flushed.push(told),
            None => {}
        }
    }

    /// Remembers which environment a request leads to.
    fn remember(&mut self, line: &Line) {
        if let Some(asked) = &line.uses[Volume::Python.index()]
            && let Some(environment) = &asked.environment
        {
            if self.environments.len() >= REMEMBERED {
                self.environments.clear();
            }
            self.environments.insert(asked.request.clone(), environment.clone());
        }
    }

    /// Names the environments of requests that used them before they were published, and describes them by what their maker
    /// noted later.
    fn complete(&mut self) {
        for line in &mut self.queue {
            if let Some(asked) = &mut line.uses[Volume::Python.index()]
                && asked.environment.is_none()
            {
                let known = self.environments.get(&asked.request).cloned();
                asked.environment = known.or_else(|| self.resident.environment_of(&line.tenant, &asked.key));
            }
        }
        if self.queue.len() < 2 {
            return;
        }
        let mut described: HashMap<(usize, String), Definition> = HashMap::new();
        for (volume, asked) in self
            .queue
            .iter_mut()
            .flat_map(|line| line.uses.iter_mut().enumerate())
            .rev()
        {
            let Some(asked) = asked else { continue };
            let Some(environment) = &asked.environment else {
                continue;
            };
            match &asked.made_of {
                Some(made_of) => drop(described.insert((volume, environment.clone()), made_of.clone())),
                None => asked.made_of = described.get(&(volume, environment.clone())).cloned(),
            }
        }
    }

    /// Writes what can be written. A `last` one waits for nothing that may come later.
    async fn write(&mut self, is_last: bool) {
        let mut given = Given::default();
        loop {
            self.complete();
            let Some(lack) = self.append(&mut given).await else {
                return;
            };
            if self.lack != lack {
                (self.lack, self.waits_since) = (lack, Instant::now());
            }
            let may_ask = given.contents.is_none() && (is_last || self.may_ask());
            match lack {
                Lack::Nothing => return,
                Lack::Header | Lack::Definition if may_ask => {
                    let contents = self.ask().await;
                    given.header = Some(self.header(&contents));
                    given.contents = Some(contents);
                }
                Lack::Header if given.contents.is_some() => {
                    given.header = given.contents.as_ref().map(|contents| self.header(contents));
                }
                // One that is not there any more now will not come again.
                Lack::Definition if given.contents.is_some() => given.leaves_out_undefined = true,
                Lack::Environment if is_last || self.waits_since.elapsed() > PUBLISHED => {
                    given.leaves_out_unpublished = true;
                }
                Lack::Header | Lack::Definition | Lack::Environment => return,
            }
        }
    }

    fn may_ask(&self) -> bool {
        self.asked.is_none_or(|asked| asked.elapsed() >= self.resident.pause())
    }

    /// Appends in a thread of its own, as files have no other way to be waited for. `None` where that failed.
    async fn append(&mut self, given: &mut Given) -> Option<Lack> {
        let mut folder = self.folder.take()?;
        let (mut queue, mut at_hand) = (std::mem::take(&mut self.queue), std::mem::take(given));
        let appending = tokio::task::spawn_blocking(move || {
            let lack = folder.append(&mut queue, &mut at_hand);
            (folder, queue, at_hand, lack)
        });
        // It only fails where it panicked, or where the runtime ends: nothing is recorded from then on.
        let (folder, queue, at_hand, lack) = appending.await.ok()?;
        let path = folder.path().to_owned();
        (self.folder, self.queue, *given) = (Some(folder), queue, at_hand);
        match lack {
            Ok(lack) => Some(lack),
            Err(error) => {
                self.queue.clear();
                self.lack = Lack::Nothing;
                self.warnings.add(|| {
                    format!(
                        "requests are not recorded for `cargo xtask size`: {}: {error}; tasks are not affected\n\
                         hint: make room or repair the folder, or record nothing with --no-trace",
                        path.display()
                    )
                });
                None
            }
        }
    }

    /// What the volumes hold; nothing where that cannot be found out.
    async fn ask(&mut self) -> Contents {
        self.asked = Some(Instant::now());
        match self.resident.contents().await {
            Ok(contents) => contents,
            Err(failure) => {
                let told = format!("the trace lacks what the caches held when it began: {failure}");
                self.warnings.add(|| told);
                Contents::default()
            }
        }
    }

    /// The header of a file that begins now. What a line in the queue has made was not there when recording began.
    fn header(&self, contents: &Contents) -> Header {
        let resident = |volume: Volume| {
            let listed = of_volume(contents, volume)?;
            let is_new = |name: &str| {
                let mut uses = self.queue.iter().filter_map(|line| line.uses[volume.index()].as_ref());
                uses.any(|asked| asked.met != Met::Hit && asked.environment.as_deref() == Some(name))
            };
            let there = listed.environments.iter().filter(|one| !is_new(&one.name));
            Some(ResidentVolume {
                rest: rest(listed),
                environments: there
                    .map(|one| ResidentEnvironment {
                        environment: one.name.clone(),
                        used_us: one.used_us,
                        made_of: definition(listed, one),
                    })
                    .collect(),
            })
        };
        let first = self.queue.front().map_or_else(now_us, |line| line.at_us);
        Header {
            hybrid_cache_trace: VERSION,
            begun_us: first,
            max_age_s: Some(self.max_age_s),
            python: resident(Volume::Python),
            system: resident(Volume::System),
        }
    }
}
