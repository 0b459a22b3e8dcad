//! The table of kinds.
//!
//! An id is a promise: it is made up once, at random, and stays with its kind for ever, because alarms are hung on it. The words
//! may change.

use crate::task::{AuditRow, TaskMove, TaskState};

macro_rules! kinds {
    ($($(#[$doc:meta])+ $name:ident {
        id: $id:literal,
        subject: $subject:literal,
        meaning: $meaning:literal,
        cure: $cure:literal,
    })+) => {
        /// A kind of event.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Kind {
            $($(#[$doc])+ $name),+
        }

        impl Kind {
            /// Every kind, in the order of the catalog.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Its `MESSAGE_ID`: 32 hexadecimal digits.
            pub const fn id(self) -> &'static str {
                match self { $(Self::$name => $id),+ }
            }

            /// What it is, in a line. `@FIELD@` stands for a field of the record.
            pub const fn subject(self) -> &'static str {
                match self { $(Self::$name => $subject),+ }
            }

            /// What it means.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning),+ }
            }

            /// What an operator can do.
            pub const fn cure(self) -> &'static str {
                match self { $(Self::$name => $cure),+ }
            }
        }
    };
}

kinds! {
    /// A task was taken in; its first audit row.
    TaskTaken {
        id: "e0c143d1755d4360a253021f1bdba1ad",
        subject: "Task @TASK_ID@ was submitted",
        meaning: "A task for account @ACCOUNT@ was taken in for generator @GENERATOR@ and is on disk. It runs as soon as a \
         worker, the limits of its generator and its account allow it.",
        cure: "Nothing is to be done. `contentctl status @TASK_ID@` says why it waits.",
    }
    /// A task waits again, and nothing of its retries is spent.
    TaskPending {
        id: "e0fc97db15dd4952ac5168f230bb32ef",
        subject: "Task @TASK_ID@ waits",
        meaning: "The task stands in line again. No job of it is alive at generator @GENERATOR@, and none of its retries is \
         spent.",
        cure: "Nothing is to be done. `contentctl status @TASK_ID@` says why it waits.",
    }
    /// An attempt ended badly, and another will follow.
    TaskRetryScheduled {
        id: "355c3342ea5844e4b046661c5b31875c",
        subject: "Task @TASK_ID@ will be tried again",
        meaning: "Attempt @ATTEMPT@ at generator @GENERATOR@ ended badly, and one of the task's retries is spent. Another \
         attempt follows after a pause.",
        cure: "Nothing is to be done for one task. If many are tried again, `contentctl log @TASK_ID@` shows what the \
         generator wrote.",
    }
    /// A worker took a task: the intent of its attempt is on disk.
    TaskSubmitting {
        id: "297f36e760f141bc896497a54e927089",
        subject: "Task @TASK_ID@ is handed to its generator",
        meaning: "Attempt @ATTEMPT@ was begun: its intent is on disk, and generator @GENERATOR@ is called.",
        cure: "Nothing is to be done.",
    }
    /// Nobody knows whether a job was made.
    TaskDoubted {
        id: "ce2efe9e9fd546ebb5298d52563bbf7d",
        subject: "It is not known whether task @TASK_ID@ has a job",
        meaning: "The call of attempt @ATTEMPT@ at generator @GENERATOR@ ended without a clear answer. The generator may have \
         taken the job, and it may have to be paid for, so the task is not handed over a second time before that is \
         known.",
        cure: "contentd looks for the job by itself where the generator lets it, and holds the task where not. Nothing is \
         to be done until then.",
    }
    /// The same key goes out once more.
    TaskResent {
        id: "6c571c6e62524051a52c177cbaa03785",
        subject: "Task @TASK_ID@ is handed over once more under the same key",
        meaning: "Generator @GENERATOR@ takes the same key for the same job, so attempt @ATTEMPT@ is sent once more under its \
         key. That makes no second job.",
        cure: "Nothing is to be done.",
    }
    /// The generator has the job.
    TaskAccepted {
        id: "d28c8b63634b4004a56d8fb19ebb883f",
        subject: "Task @TASK_ID@ was accepted by its generator",
        meaning: "Generator @GENERATOR@ has the job of attempt @ATTEMPT@. Its time limit runs from now.",
        cure: "Nothing is to be done.",
    }
    /// The generator works on it.
    TaskProcessing {
        id: "77a199484fe4443682afd58fe7dea93e",
        subject: "Task @TASK_ID@ is being worked on",
        meaning: "Generator @GENERATOR@ said that it works on attempt @ATTEMPT@.",
        cure: "Nothing is to be done. `contentctl poll @TASK_ID@` asks the generator now.",
    }
    /// Past its limit, the same job gets a fresh one.
    TaskExtended {
        id: "8e19005d359140b6b010b67fad96ead6",
        subject: "Task @TASK_ID@ has passed its time limit, and its job may be alive",
        meaning: "The job of attempt @ATTEMPT@ at generator @GENERATOR@ did not end within the task's time limit, and nothing \
         proves that it is dead. No second job is made; the same one gets a fresh limit, and one of the task's \
         retries is spent.",
        cure: "Nothing is to be done at once. If it happens often, the time limit is too short for this generator \
         (tasks.time_limit, `submit --time-limit`).",
    }
    /// Somebody asked for an end that is not proved yet.
    TaskCancelling {
        id: "10febfe429ce41deb82684c0c5a50f9f",
        subject: "Task @TASK_ID@ is being cancelled",
        meaning: "Somebody asked for the end of the task, and generator @GENERATOR@ is asked to end its job. The task is \
         cancelled once that is proved.",
        cure: "Nothing is to be done.",
    }
    /// A person must decide.
    TaskHeld {
        id: "ab867ed9716a426f9de9f3fb17daa5cd",
        subject: "Task @TASK_ID@ is held for a person",
        meaning: "contentd cannot decide by itself what became of attempt @ATTEMPT@ at generator @GENERATOR@ without the risk \
         of a second paid job or of a lost piece. The task waits for a person; the message says why.",
        cure: "Look at the task with `contentctl show @TASK_ID@` and `contentctl log @TASK_ID@`, and at the generator's own \
         list of jobs. Then decide: `contentctl poll @TASK_ID@` fetches its piece once more; `contentctl settle \
         @TASK_ID@` with `--adopt REF` names its job, with `--absent` says that there is none, so that it is handed \
         over again, and with `--fail --reason TEXT` gives it up.",
    }
    /// Its piece is a content record.
    TaskCompleted {
        id: "9b9d6ebbbfa1422898922807895b0240",
        subject: "Task @TASK_ID@ is completed",
        meaning: "The piece of attempt @ATTEMPT@ of generator @GENERATOR@ is stored as a content record.",
        cure: "Nothing is to be done unless the task asks for a review. `contentctl result @TASK_ID@` prints the piece.",
    }
    /// Ended without a piece.
    TaskFailed {
        id: "da7040efc5a34db88cc105afdd597dbc",
        subject: "Task @TASK_ID@ has failed",
        meaning: "The task ended without a piece at attempt @ATTEMPT@ of generator @GENERATOR@, and no retry is left, or the \
         generator will never take it. The message says why.",
        cure: "`contentctl log @TASK_ID@` shows what the generator wrote. `contentctl retry @TASK_ID@ --reset-count` starts \
         the task again once the cause is mended.",
    }
    /// Past its last time limit.
    TaskTimeout {
        id: "10543f1c43124eb592c48d7ed05b7c9c",
        subject: "Task @TASK_ID@ has passed its last time limit",
        meaning: "Generator @GENERATOR@ did not finish attempt @ATTEMPT@ in time, and no retry is left. If its job may be \
         alive, contentd looks at it for another day and takes a late piece.",
        cure: "`contentctl retry @TASK_ID@` starts the task again; it refuses while the job may be alive. If it happens \
         often, the time limit is too short.",
    }
    /// Ended because somebody asked.
    TaskCancelled {
        id: "be1c45f6ff2c4d3fb9553d154d61f155",
        subject: "Task @TASK_ID@ is cancelled",
        meaning: "The task ended because somebody asked for it. Where the message says that a job may be alive, generator \
         @GENERATOR@ did not confirm the end, and contentd looks at the job for another day.",
        cure: "Nothing is to be done. `contentctl retry @TASK_ID@` starts the task again.",
    }
    /// A person changed a task without moving it.
    TaskChanged {
        id: "440c3dc4009d48f5b57a84278306c561",
        subject: "Task @TASK_ID@ was changed",
        meaning: "A person changed the task's priority, or asked to fetch its piece again. Its state is still @TASK_STATE@.",
        cure: "Nothing is to be done.",
    }
    /// A piece came after its task had ended.
    LatePieceTaken {
        id: "c3927926f76c4b30a11766a54caafbb9",
        subject: "A late piece of task @TASK_ID@ was taken",
        meaning: "Generator @GENERATOR@ finished attempt @ATTEMPT@ after the task had ended. The piece is kept: it completes a \
         task that had failed or passed its time, and waits for a review where the task was cancelled.",
        cure: "`contentctl content list --task @TASK_ID@` shows it; approve or reject it if it waits for a review.",
    }
    /// A job of an ended task was found.
    LateJobFound {
        id: "f4d295d52a5c44a399b91e905b3c3df8",
        subject: "A job of task @TASK_ID@, which has ended, was found",
        meaning: "Nobody knew whether attempt @ATTEMPT@ had become a job at generator @GENERATOR@ when the task ended. It \
         had: the job was found, and contentd looks at it for a day. The task is still @TASK_STATE@.",
        cure: "Nothing is to be done. If the job brings a piece, it is kept; `contentctl retry @TASK_ID@` refuses while the \
         job may be alive.",
    }
    /// A job that outlived its task has ended.
    LateJobEnded {
        id: "8eaa087c742049a1b27963bfc0569cdc",
        subject: "The job that outlived task @TASK_ID@ has ended",
        meaning: "The job of attempt @ATTEMPT@ at generator @GENERATOR@ was watched after its task had ended or was held, and \
         it is over without a piece.",
        cure: "Nothing is to be done; `contentctl retry @TASK_ID@` is possible now.",
    }
    /// Something about a task could not be done now; it is tried again.
    TaskTrouble {
        id: "3fd816dae6fe48a9baf6df66ba8ada5d",
        subject: "Something about task @TASK_ID@ could not be done",
        meaning: "A step of the task could not be carried out or written down. The message says which and why. The task's \
         state did not change, and contentd tries again by itself.",
        cure: "Nothing is to be done if it passes. If it goes on, look for messages about the database or the generator at \
         the same time.",
    }
    /// A generator answered in a way that its configuration cannot read.
    ContractDrift {
        id: "1b8101ad0578420c94991b7bc6de1a11",
        subject: "Generator @GENERATOR@ gave an answer that cannot be read",
        meaning: "An answer of generator @GENERATOR@ about task @TASK_ID@ does not fit what its section of the configuration \
         says: a state that is not in the map, or output in which a value is missing. The answer changes nothing. \
         After five in a row no new jobs go to this generator.",
        cure: "One such answer is nothing to worry about. If they go on, the generator has changed: compare `contentctl log \
         @TASK_ID@` with [generators.@GENERATOR@], mend the section and run `contentctl reload`.",
    }
    /// A generator did not answer about a job.
    GeneratorSilent {
        id: "5f1e1a1c42cb4c12981ea9637b22b801",
        subject: "Generator @GENERATOR@ did not answer",
        meaning: "A call of generator @GENERATOR@ about task @TASK_ID@ came to nothing. The job is not touched by that, and \
         contentd asks again, more and more slowly.",
        cure: "If it goes on, look at the generator's service; `contentctl log @TASK_ID@` shows what its commands wrote.",
    }
    /// What a generator's command wrote to standard error.
    GeneratorWrote {
        id: "01a4549e53da4e959b8911a19302084f",
        subject: "Generator @GENERATOR@ wrote to standard error",
        meaning: "This is what a command of generator @GENERATOR@ (@VERB@) wrote to its standard error during attempt \
         @ATTEMPT@ of task @TASK_ID@, secrets taken out. It comes at priority 6 when the call failed or its outcome \
         is not clear, else at 7.",
        cure: "`contentctl log @TASK_ID@` shows everything of this task.",
    }
    /// A generator cannot be called.
    GeneratorFaulty {
        id: "f7996ac76e16455e94c91b86a8242840",
        subject: "A generator cannot run",
        meaning: "A configured generator cannot be called: its program, its working directory or a secret is missing, or its \
         section names something that is not there. Its tasks wait; the others go on.",
        cure: "The message names the setting and the cure. `contentctl status` shows every fault; `contentctl reload` looks \
         again.",
    }
    /// No new jobs go to a generator.
    BreakerOpened {
        id: "e737ab8777224d3ba07403d043790aa4",
        subject: "No new jobs go to generator @GENERATOR@",
        meaning: "Generator @GENERATOR@ is not there, answers in a way that cannot be read, or its jobs fail one after the \
         other. So that the trouble does not spend the retries of every waiting task, no new jobs start there, but \
         for one probe at a time with growing pauses. What is under way goes on.",
        cure: "Mend the generator; the message says what it answered last. The next probe that succeeds starts everything \
         again by itself. `contentctl status` shows when that is.",
    }
    /// New jobs go to a generator again.
    BreakerClosed {
        id: "72fc466222cc4e099ced594d9566b7bc",
        subject: "New jobs go to generator @GENERATOR@ again",
        meaning: "A probe at generator @GENERATOR@ went well, and its tasks start again.",
        cure: "Nothing is to be done.",
    }
    /// The task with which a generator is tried.
    Probe {
        id: "c2851b61693c44b3b6971bee4d09c79b",
        subject: "Task @TASK_ID@ is the probe of generator @GENERATOR@",
        meaning: "Generator @GENERATOR@ was in trouble, and this task tries whether it is well again.",
        cure: "Nothing is to be done.",
    }
    /// A person stopped new jobs.
    Paused {
        id: "5faee6715df04e38ba3b19846b11287c",
        subject: "New jobs were paused",
        meaning: "A person paused everything, a generator or an account: no new jobs of it start, and what is under way goes \
         on. The pause outlives a restart.",
        cure: "`contentctl status` shows the pauses that stand, `contentctl resume` ends one.",
    }
    /// A person let new jobs start again.
    Resumed {
        id: "bfb3587a5b9943ec880d9a60e7bd36e9",
        subject: "New jobs start again",
        meaning: "A person ended a pause.",
        cure: "Nothing is to be done.",
    }
    /// A person approved or rejected a piece.
    Reviewed {
        id: "624fcd67cfad4cf89008fcde93e68701",
        subject: "A piece of task @TASK_ID@ was reviewed",
        meaning: "A person approved or rejected a piece. An approved one goes into the publish pool.",
        cure: "Nothing is to be done.",
    }
    /// An image of a piece could not be fetched, and is not tried any more.
    ImageGivenUp {
        id: "dac6dcf23650495687d5b822a14df3ff",
        subject: "An image of task @TASK_ID@ is not kept",
        meaning: "An image of a piece was to be kept, and its address gave none: it has expired, its server is away or sent \
         something else, or it is an address that is not asked. The piece itself is kept, with the image's address.",
        cure: "`contentctl content images ID` says why. Where the address should have been asked, see [images] in \
         contentd.toml(5).",
    }
    /// A piece went out.
    PiecePublished {
        id: "2f6a360f436c4a85923d8f831b8dcc6e",
        subject: "A piece of task @TASK_ID@ was published",
        meaning: "A publisher, a consumer of the pool or a person said that a piece of account @ACCOUNT@ is out. Its content record \
         says where.",
        cure: "Nothing is to be done.",
    }
    /// A piece is not out.
    PublishFailed {
        id: "ebe559a81bd34e0496fab6b62837d59d",
        subject: "A piece of task @TASK_ID@ could not be published",
        meaning: "The publisher will not take the piece, or no retry is left. It stays in the pool as failed.",
        cure: "`contentctl pool list --status failed` says why; `contentctl pool schedule ID --at now` gives it another chance.",
    }
    /// A piece waits for another try.
    PublishRetried {
        id: "0bc2397272d04f0e82fca9f4946ace36",
        subject: "A piece of task @TASK_ID@ is to be published again",
        meaning: "The piece is not out, and goes out again later.",
        cure: "Nothing is to be done, unless it happens often.",
    }
    /// Nobody knows whether a piece is out.
    PublishHeld {
        id: "405ccf171ad8404ea86ff2b4837cbce5",
        subject: "A piece of task @TASK_ID@ may be published or not",
        meaning: "Whoever had the piece never said what came of it, and it could be published twice if it was handed out again. It \
         is held.",
        cure: "Look whether it is out. `contentctl pool done ID --reason TEXT` or `contentctl pool fail ID --reason TEXT` settles \
         it; `contentctl pool release ID` lets it go out.",
    }
    /// An entry of the pool changed otherwise.
    PoolMoved {
        id: "2870170bbf0340f492dad51e07f192a9",
        subject: "A piece of task @TASK_ID@ moved in the publish pool",
        meaning: "An entry of the publish pool was handed out, given back, released, rescheduled or taken out.",
        cure: "Nothing is to be done.",
    }
    /// A publisher's words.
    PublisherWrote {
        id: "5952b531a47945b58f7db2a3c06aa82d",
        subject: "A publisher wrote to standard error",
        meaning: "What a publisher's command wrote, its secrets taken out.",
        cure: "Nothing is to be done, unless its pieces fail.",
    }
    /// A publisher cannot be called.
    PublisherFaulty {
        id: "38b9459448264e6ea5344d30c6b5b650",
        subject: "A publisher cannot be called",
        meaning: "The program, the working directory or a secret of a publisher is missing.",
        cure: "The message names the setting and the cure. `contentd --check-config` looks again.",
    }
    /// A publisher is away.
    PublisherAway {
        id: "70297868b8c149f28a4b71df53093b39",
        subject: "A publisher is away",
        meaning: "It does not take pieces, or fails one after the other. One piece at a time tries it, and nothing is spent while \
         nobody is there.",
        cure: "Look at the publisher; the message says what it answered. `contentctl resume --publisher NAME` has one that was \
         mended tried at once.",
    }
    /// A publisher is back.
    PublisherBack {
        id: "f0388af095c540bdbd4479ece61a0873",
        subject: "A publisher is back",
        meaning: "It took a piece, and the others follow.",
        cure: "Nothing is to be done.",
    }
    /// Something about the pool could not be carried out.
    PoolTrouble {
        id: "4846cef4caa34e1985c9d46ee44c88b1",
        subject: "The publish pool has trouble",
        meaning: "Something about an entry of the publish pool could not be read or written, and is tried again.",
        cure: "The message says what failed; a full disk is the usual reason.",
    }
    /// The daemon starts.
    DaemonStarting {
        id: "d41262a70176446a9503abab5b822a3f",
        subject: "contentd starts",
        meaning: "The daemon has read its configuration and begins: the database is opened, and what was under way is looked \
         at.",
        cure: "Nothing is to be done.",
    }
    /// The daemon answers.
    DaemonReady {
        id: "0b98e4177c444c5e8a6ad75cae7a9afc",
        subject: "contentd is ready",
        meaning: "The recovery is done, and the daemon answers on its socket.",
        cure: "Nothing is to be done.",
    }
    /// What was under way at the last end was looked at.
    Recovered {
        id: "1b917e79ae464925abac851c0514f8b8",
        subject: "contentd has looked at what was under way",
        meaning: "Every task that was under way when the last daemon ended was found again. Submits in doubt are looked for \
         before anything is handed over again, and detached runs go on.",
        cure: "Nothing is to be done.",
    }
    /// The database is a backup of an earlier time.
    DatabaseRestored {
        id: "e7c8d5bfe0bc33becd9747f1cb8dadd9",
        subject: "The database was restored from a backup",
        meaning: "What happened after the backup is not known here. Jobs that the backup knows are asked about and followed. A task \
         that may have got a job since is held, and a piece that may have been published since waits in the pool.",
        cure: "`contentctl list --state held` and `contentctl pool list`: look at the generators and at what was published, then \
         release: `contentctl release`, `contentctl pool release`.",
    }
    /// A task of a restored database.
    TaskRestored {
        id: "964b1a65597158ddb3f5f9282f1aa901",
        subject: "Task @TASK_ID@ comes from a backup",
        meaning: "The database was restored from a backup, and what came of the task since is not known. Its job at generator \
         @GENERATOR@ is asked about as before; should it need another one, a person decides.",
        cure: "Nothing is to be done. `contentctl status @TASK_ID@` says how it stands.",
    }
    /// The daemon ends in order.
    DaemonStopping {
        id: "1f5572caf734462c814909d75be00d3b",
        subject: "contentd is stopping",
        meaning: "Nothing new starts, and calls in hand end within daemon.drain_timeout. Detached runs and jobs at generators \
         are left alone; the next start finds them.",
        cure: "Nothing is to be done.",
    }
    /// An actor, or the control thread, does not answer.
    ActorSilent {
        id: "64d91c0f296544669ef2b9e21e0c2939",
        subject: "A part of contentd does not answer",
        meaning: "The watchdog is fed only when every actor has answered. It is not fed now, so systemd ends this daemon and \
         starts a new one, which goes on where this one was.",
        cure: "Nothing is lost. If it comes again, keep the journal from before the restart and report it.",
    }
    /// Calls were still under way at the end of the drain.
    DrainCut {
        id: "ee83d93454934d029aac34fca9d42666",
        subject: "contentd stopped while calls were under way",
        meaning: "Calls did not end within daemon.drain_timeout. Nothing that was acknowledged is lost; the next start clears \
         up what came of the calls.",
        cure: "If it happens often, daemon.drain_timeout is shorter than the time limits of the generators' verbs.",
    }
    /// The daemon has ended.
    DaemonStopped {
        id: "df5211891dfb4f3880118d8ccb7ae48d",
        subject: "contentd has stopped",
        meaning: "The daemon has ended in order, and everything is on disk.",
        cure: "Nothing is to be done.",
    }
    /// The daemon cannot run or cannot go on.
    DaemonFailed {
        id: "14b33c4a0c794fc79e55a8889f905777",
        subject: "contentd cannot run",
        meaning: "The daemon could not start, or cannot go on. The message says why and what would be right. Nothing that was \
         acknowledged is lost.",
        cure: "For a fault of the configuration, `contentd --check-config` shows all of them. Exit status 78 is the \
         configuration's and 70 a failure after which a new start helps.",
    }
    /// The configuration was read again.
    ConfigReloaded {
        id: "cd6a02f9f45249c7b096c28d632cac84",
        subject: "The configuration was read again",
        meaning: "The new configuration is in force. What needs a restart is counted in the message and named by `contentctl \
         reload`.",
        cure: "Nothing is to be done.",
    }
    /// A new configuration has faults.
    ConfigRefused {
        id: "330edaff3c9140d5ae49db821248967b",
        subject: "The new configuration was refused",
        meaning: "The configuration file has faults, so the old configuration stays in force. The message names each with its \
         line and what would be right.",
        cure: "Mend the file and reload again; `contentd --check-config` judges it without the daemon.",
    }
    /// A part of the daemon died and is rebuilt.
    ActorRestarted {
        id: "62ac1f5b819d408f820e3d8c7b7a7a46",
        subject: "A part of contentd failed and is rebuilt",
        meaning: "A part of the daemon panicked. That is a fault of contentd. It is rebuilt at once, and no task is lost by \
         it.",
        cure: "Please report it with the lines of the journal around this one. Nothing else is to be done unless it \
         repeats.",
    }
    /// Too many rebuilds: the daemon ends.
    BudgetSpent {
        id: "2383500affe94c5694924caba301655f",
        subject: "contentd failed too often and ends",
        meaning: "Parts of the daemon failed more often than is put up with, so the daemon ends with status 70 and systemd \
         starts a new one. Nothing that was acknowledged is lost.",
        cure: "Please report it with the lines of the journal before this one.",
    }
    /// A call ended in a fault of contentd.
    CallPanicked {
        id: "32e4bf6f55af4d5a9c9f30689063f6d7",
        subject: "A call ended in a fault of contentd",
        meaning: "A call of generator @GENERATOR@ ended in a panic, which is a fault of contentd. The affected tasks are \
         looked at again.",
        cure: "Please report it with the lines of the journal around this one.",
    }
    /// The disk of the database is full.
    StorageFull {
        id: "dc550a354cdd417e814de5a3943b2e5a",
        subject: "The disk of the database is full",
        meaning: "Nothing can be written to the database. New tasks are refused; jobs at generators go on, and their results \
         wait where they are.",
        cure: "Make room on the file system of the state directory (`df /var/lib/contentd`). contentd goes on by itself as \
         soon as a write succeeds.",
    }
    /// The database can be written again.
    StorageRoom {
        id: "8218abd6aeb340c2a0d82e99723fe2e9",
        subject: "The database can be written again",
        meaning: "There was no room on the disk of the database, and now there is. The message counts the writes that were \
         refused meanwhile; those that were worth keeping were tried again.",
        cure: "Nothing is to be done.",
    }
    /// The database cannot be trusted any more.
    StorageFailed {
        id: "650ed5b2c95e41c4964535461d4f6064",
        subject: "The database failed",
        meaning: "A write did not reach the disk, the database is damaged, or its file was moved, removed or replaced. The daemon \
         ends, because nobody knows what the disk holds, and systemd starts a new one that reads what is really there.",
        cure: "The message says which. Put a file that was moved back where it was; else look at the disk (`journalctl -k`, \
         `smartctl`). If the next start fails too, restore the last backup.",
    }
    /// The database refused something; it is tried again.
    StorageTrouble {
        id: "c4e76bf32f214017a1fc634551cbd2a7",
        subject: "The database refused a read or a write",
        meaning: "Something could not be read from or written to the database just now. It is tried again.",
        cure: "Nothing is to be done if it passes. If it goes on, look at the disk and at the permissions of the state \
         directory.",
    }
    /// The wall clock was set.
    ClockSet {
        id: "9f09a470ccee4da595c79831acd57309",
        subject: "The wall clock was set",
        meaning: "The wall clock was set while contentd ran or between two starts. Nothing ends early or late by it: time \
         limits go by the boot clock.",
        cure: "If nobody set it on purpose, look at the time synchronisation of this machine.",
    }
    /// Old tasks or files were removed.
    CleanedUp {
        id: "886b8f0c5efe46a29921ee2c8fe6d98f",
        subject: "Old tasks or files were removed",
        meaning: "Finished tasks that are older than retention.finished_tasks, or files that no task needs any more, were \
         removed.",
        cure: "Nothing is to be done.",
    }
    /// Old tasks or files could not be removed.
    CleanupFailed {
        id: "5297843100bf499fbb44f5c539cc94dc",
        subject: "Old tasks or files could not be removed",
        meaning: "The cleanup could not do its work. Nothing depends on it but room on the disk; the next one tries again.",
        cure: "The message names the file or the fault. If it repeats, look at the permissions of the state directory.",
    }
    /// What a generator wrote could not be kept.
    LogNotKept {
        id: "f026179d51f548c096f9eca407f95921",
        subject: "What a generator wrote could not be kept",
        meaning: "The standard error of generators is kept in the directory logs of the state directory, and that could not be \
         written. No task is touched by it, and the journal has what was written, bounded.",
        cure: "Make room, or make the directory writable for the daemon's user.",
    }
    /// A fire of a schedule submitted its tasks.
    ScheduleFired {
        id: "8c44aaef1eef447193812fe2c2c89abc",
        subject: "A schedule has fired",
        meaning: "A schedule was due, or somebody let it fire, and its tasks are submitted. The message names the schedule and how \
         many tasks they are.",
        cure: "Nothing is to be done. `contentctl schedule history NAME` shows its fires.",
    }
    /// A fire submitted nothing and is not tried again, or a schedule cannot be read any more.
    ScheduleFailed {
        id: "e7789a52f7b44299a9b08d349a1c817b",
        subject: "A schedule could not fire",
        meaning: "A fire of a schedule has submitted nothing and is not tried again by itself. The message says why: its topics \
         could not be read, its accounts are disabled, or its generator is not configured.",
        cure: "Mend what the message names. `contentctl schedule history NAME` shows the fire, and `contentctl schedule run NAME` \
         makes up for it.",
    }
    /// A fire is tried again later.
    SchedulePutOff {
        id: "05f2782edac744fe8032adcb37a8ece7",
        subject: "A fire of a schedule is tried again later",
        meaning: "A schedule was due and its tasks could not be submitted yet: too many tasks are unfinished, or its topics could \
         not be had at this moment. The message says which.",
        cure: "Nothing is to be done at once: the fire is tried again by itself, and no other fire of its schedule begins before it \
         has ended. `contentctl schedule history NAME` shows when.",
    }
    /// A source had no topic, or no more of them will come.
    ScheduleEmpty {
        id: "b10c9c393e2744099d5b40259f8d96a6",
        subject: "A schedule has no topics left",
        meaning: "A schedule was due and its source had no topic that was not taken, or its list is worked through. In the latter \
         case the schedule is paused.",
        cure: "Add topics to its file or its source; for a list, add a schedule with a new one. `contentctl schedule show NAME` \
         shows the source.",
    }
    /// Due times passed that are not made up for.
    ScheduleMissed {
        id: "dd27792c0ddd405995c0252d5598a345",
        subject: "Due times of a schedule have passed unseen",
        meaning: "contentd was not running, the machine slept, or an earlier fire took too long, while a schedule was due. The \
         message says how many due times are not made up for; the schedule's misfire policy decided that.",
        cure: "Nothing is to be done if that is as wished. `contentctl schedule run NAME` makes up for one of them.",
    }
    /// An alarm fires, and is told.
    AlarmRaised {
        id: "f4377237a6bc4d49b970497e33a2dc36",
        subject: "Something is wrong",
        meaning: "A rule of [notices] found something wrong for long enough. The line says which, and the hooks are told.",
        cure: "`contentctl health` says what is wrong now and `contentctl notice list` what was told; \
         `contentctl notice ack ALARM` if you know of it.",
    }
    /// An alarm is over, and that is told.
    AlarmOver {
        id: "883574fe84e648eba8d3b6847aff211a",
        subject: "Something is right again",
        meaning: "What a rule of [notices] found wrong has been right again for long enough, or somebody tried a hook.",
        cure: "Nothing is to be done.",
    }
    /// A hook did not take a message.
    HookFailed {
        id: "73c28a19fbfc4bdb809d4207729770ad",
        subject: "A hook did not take a message",
        meaning: "The command of a hook could not run, exited otherwise than with 0, or was ended at its time limit. The message \
         waits and is tried again with back-off, and those behind it wait for it.",
        cure: "`contentctl notice list` shows the last words of the hook; `contentctl notice test HOOK` tries it.",
    }
    /// A message was given up.
    NoticeGivenUp {
        id: "242a69fd9bf24cfd887149a5d9ea93ca",
        subject: "A message was not told",
        meaning: "A hook did not take a message for as long as give_up_after says, or is not configured any more. The message will \
         not be tried again.",
        cure: "`contentctl notice list` shows what it said. Mend the hook, then `contentctl notice test HOOK`.",
    }
    /// Rules or outbox could not be used.
    NoticeTrouble {
        id: "159755a44fe04ff79bbcc7754470b443",
        subject: "It could not be looked whether something is wrong",
        meaning: "The numbers that the rules look at, or the messages that wait, could not be read or written. It is tried again.",
        cure: "The line says why. If the disk is full, make room; `contentctl doctor` looks at the whole installation.",
    }
}

impl Kind {
    /// The kind of a committed move: by what happened where that says more than the state that was reached.
    pub fn of_move(from: TaskState, audit: &AuditRow) -> Self {
        let happened = audit.event.parse::<TaskMove>().ok();
        match happened {
            Some(TaskMove::RetryScheduled) => return Self::TaskRetryScheduled,
            Some(TaskMove::Doubted) => return Self::TaskDoubted,
            Some(TaskMove::Resent) => return Self::TaskResent,
            Some(TaskMove::Extended) => return Self::TaskExtended,
            Some(TaskMove::LatePieceKept) => return Self::LatePieceTaken,
            Some(TaskMove::Completed) if from.is_final() => return Self::LatePieceTaken,
            Some(TaskMove::Accepted | TaskMove::Adopted) if from.is_final() => return Self::LateJobFound,
            Some(TaskMove::LateJobEnded) => return Self::LateJobEnded,
            Some(TaskMove::Changed | TaskMove::RefetchRequested | TaskMove::Released) => return Self::TaskChanged,
            Some(TaskMove::Restored) if from == audit.to_state => return Self::TaskRestored,
            _ => {}
        }
        match audit.to_state {
            TaskState::Pending => Self::TaskPending,
            TaskState::Submitting => Self::TaskSubmitting,
            TaskState::Submitted => Self::TaskAccepted,
            TaskState::Processing => Self::TaskProcessing,
            TaskState::Cancelling => Self::TaskCancelling,
            TaskState::Held => Self::TaskHeld,
            TaskState::Completed => Self::TaskCompleted,
            TaskState::Failed => Self::TaskFailed,
            TaskState::Timeout => Self::TaskTimeout,
            TaskState::Cancelled => Self::TaskCancelled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audit(event: &str, to_state: TaskState) -> AuditRow {
        AuditRow {
            task_id: "task-a".into(),
            at: crate::task::Timestamp(0),
            event: event.to_owned(),
            from_state: None,
            to_state,
            attempt: 1,
            attempt_from: None,
            attempt_to: None,
            why: None,
            who: "contentd".to_owned(),
        }
    }

    #[test]
    fn every_move_of_the_table_has_a_kind_and_an_alarm_is_not_raised_by_a_note() {
        for from in TaskState::ALL {
            for event in TaskMove::ALL {
                let Some(to) = from.target(*event) else { continue };
                let kind = Kind::of_move(*from, &audit(event.as_str(), to));
                let is_alarm = matches!(kind, Kind::TaskHeld | Kind::TaskFailed | Kind::TaskTimeout);
                assert!(!is_alarm || from != &to, "{from} {event}");
            }
        }
        use TaskState::{Cancelled, Completed, Failed, Pending, Processing};
        assert_eq!(Kind::of_move(Processing, &audit("completed", Completed)), Kind::TaskCompleted);
        assert_eq!(Kind::of_move(Failed, &audit("completed", Completed)), Kind::LatePieceTaken);
        assert_eq!(Kind::of_move(Cancelled, &audit("late_piece_kept", Cancelled)), Kind::LatePieceTaken);
        assert_eq!(Kind::of_move(Processing, &audit("retry_scheduled", Pending)), Kind::TaskRetryScheduled);
        assert_eq!(Kind::of_move(Processing, &audit("of a later version", Failed)), Kind::TaskFailed);
    }

    #[test]
    fn ids_are_unique_and_every_kind_says_what_to_do() {
        let mut ids: Vec<&str> = Kind::ALL.iter().map(|kind| kind.id()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            assert!(kind.id().len() == 32 && kind.id().bytes().all(is_hex), "{kind:?}");
            assert!(kind.subject().len() < 80 && !kind.subject().ends_with('.'), "{kind:?}");
            assert!(kind.meaning().ends_with('.') && !kind.cure().is_empty(), "{kind:?}");
        }
    }
}
