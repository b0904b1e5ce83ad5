//! Compiles modules in child processes and keeps the last ones.

mod cache;

use crate::{
    check::ModuleLimits,
    child::{Request, status},
    engine::{SLOTS, linker, running_engine},
    gate::Gate,
    guest::Cell,
};
use cache::Cache;
use muster_types::Hash;
use std::{
    ffi::OsString,
    fmt,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
    sync::{OnceCell, Semaphore},
};
use wasmtime::{Engine, ExternType, InstancePre, Linker, Module};

/// How to start the compiler's child process: a program that calls
/// [`compile_child_main`](crate::compile_child_main) with its stdin and stdout.
#[derive(Debug, Clone)]
pub struct ChildProgram {
    /// The executable.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// What compilation may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// Sizes of what is compiled.
    pub module: ModuleLimits,
    /// CPU time of one child, seconds.
    pub cpu_seconds: u64,
    /// Address space of one child, bytes.
    pub address_space_bytes: u64,
    /// Wall time of one child, milliseconds.
    pub wall_ms: u64,
    /// Machine code of one module, bytes.
    pub code_bytes: u64,
    /// Children at once.
    pub children: usize,
    /// Modules kept.
    pub cached_modules: usize,
    /// Machine code kept, bytes.
    pub cached_bytes: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            module: ModuleLimits::default(),
            cpu_seconds: 20,
            address_space_bytes: 2 << 30,
            wall_ms: 60_000,
            code_bytes: 64 << 20,
            children: 1,
            cached_modules: 64,
            cached_bytes: 256 << 20,
        }
    }
}

/// Why a module was not compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The module is not of the format or over its limits; every machine says so.
    #[error("module refused: {reason}")]
    Refused {
        /// What is wrong and how to mend it.
        reason: String,
    },
    /// The child process was ended by its limits.
    #[error(
        "compiling the module took more than {cpu_seconds} s of CPU, {address_space_bytes} bytes or \
         {wall_ms} ms ({how}): make the module smaller"
    )]
    OverLimits {
        /// CPU seconds allowed.
        cpu_seconds: u64,
        /// Bytes of address space allowed.
        address_space_bytes: u64,
        /// Milliseconds allowed.
        wall_ms: u64,
        /// How the child ended.
        how: String,
    },
    /// The machine code is too large to keep.
    #[error("the module compiles to more than {limit} bytes: make it smaller")]
    CodeTooLarge {
        /// Bytes allowed.
        limit: u64,
    },
    /// The compiler failed on a module that is valid.
    #[error("the compiler failed: {reason}")]
    Compiler {
        /// What it said.
        reason: String,
    },
    /// The child process could not be started or spoken to.
    #[error("cannot run the compiler {program}: check that the program is there and may be run")]
    Child {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The engine cannot be set up on this machine.
    #[error("cannot set up the WASM engine: {reason}")]
    Engine {
        /// Why.
        reason: String,
    },
}

impl CompileError {
    /// Whether the module itself is at fault, on every machine.
    #[must_use]
    pub const fn is_deterministic(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

/// A module ready to run; see [`Compiled::run`](crate::Compiled::run).
pub struct Compiled {
    pub(crate) pre: InstancePre<Cell>,
    pub(crate) gate: Arc<Gate>,
    hash: Hash,
    code_bytes: u64,
}

impl Compiled {
    /// The content hash of the module.
    #[must_use]
    pub const fn hash(&self) -> Hash {
        self.hash
    }

    /// Size of its machine code, bytes.
    #[must_use]
    pub const fn code_bytes(&self) -> u64 {
        self.code_bytes
    }
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiled")
            .field("hash", &self.hash)
            .field("code_bytes", &self.code_bytes)
            .finish_non_exhaustive()
    }
}

/// Compiles modules, each in a child process under limits, and keeps the machine code in memory by
/// content hash. Cloning shares all of it.
#[derive(Clone)]
pub struct Compiler {
    shared: Arc<Shared>,
}

struct Shared {
    child: ChildProgram,
    limits: CompileLimits,
    engine: Engine,
    linker: Linker<Cell>,
    gate: Arc<Gate>,
    children: Semaphore,
    cache: Mutex<Cache>,
}

impl fmt::Debug for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiler").field("child", &self.shared.child).finish_non_exhaustive()
    }
}

impl Compiler {
    /// A compiler with an empty cache.
    ///
    /// # Errors
    /// [`CompileError::Engine`] if this processor or system is not supported.
    pub fn new(child: ChildProgram, limits: CompileLimits) -> Result<Self, CompileError> {
        let failed = |error: wasmtime::Error| CompileError::Engine { reason: format!("{error:#}") };
        let engine = running_engine().map_err(failed)?;
        let linker = linker(&engine).map_err(failed)?;
        let cache = Mutex::new(Cache::new(limits.cached_modules, limits.cached_bytes));
        let children = Semaphore::new(limits.children.max(1));
        let gate = Arc::new(Gate::new(SLOTS));
        let shared = Shared { child, limits, engine, linker, gate, children, cache };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The module with this content hash, if it is kept.
    #[must_use]
    pub fn get(&self, module: &Hash) -> Option<Arc<Compiled>> {
        self.cache(|cache| cache.get(module))
    }

    /// Compiles a module, or takes it from the cache. Several calls for one module share one child.
    /// Dropping the future kills the child.
    ///
    /// # Errors
    /// [`CompileError`]. Failures are not kept: calling again tries again.
    pub async fn compile(&self, module: &[u8]) -> Result<Arc<Compiled>, CompileError> {
        let hash = Hash::of_content(module);
        let slot = self.cache(|cache| cache.slot(hash));
        let compiled = slot.get_or_try_init(|| self.compile_now(hash, module)).await?;
        self.cache(Cache::trim);
        Ok(Arc::clone(compiled))
    }

    fn cache<T>(&self, act: impl FnOnce(&mut Cache) -> T) -> T {
        act(&mut self.shared.cache.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn compile_now(&self, hash: Hash, module: &[u8]) -> Result<Arc<Compiled>, CompileError> {
        let limit = self.shared.limits.module.module_bytes;
        if module.len() > limit {
            // The child would say the same, after all of it has been sent.
            let error = crate::ModuleError::TooLarge { bytes: module.len(), limit };
            return Err(CompileError::Refused { reason: error.to_string() });
        }
        let code = self.code_from_child(module).await?;
        let compiled = self.load(hash, &code)?;
        tracing::debug!(module = %hash.short(), code_bytes = code.len(), "module compiled");
        Ok(Arc::new(compiled))
    }

    /// Runs the child and takes its answer apart.
    async fn code_from_child(&self, module: &[u8]) -> Result<Vec<u8>, CompileError> {
        let limits = &self.shared.limits;
        // The semaphore is never closed.
        let _turn = self.shared.children.acquire().await;
        let wall = Duration::from_millis(limits.wall_ms);
        let (answer, exit) = tokio::time::timeout(wall, self.converse(module))
            .await
            .map_err(|_| self.over_limits("the wall clock".to_owned()))?
            .map_err(|source| CompileError::Child {
                program: self.shared.child.program.display().to_string(),
                source,
            })?;
        if answer.len() as u64 > limits.code_bytes {
            return Err(CompileError::CodeTooLarge { limit: limits.code_bytes });
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match answer.split_first() {
            Some((&status::COMPILED, code)) if exit.success() => Ok(code.to_vec()),
            Some((&status::REFUSED, reason)) if exit.success() => {
                Err(CompileError::Refused { reason: text(reason) })
            }
            Some((&status::FAILED, reason)) if exit.success() => {
                Err(CompileError::Compiler { reason: text(reason) })
            }
            _ if exit.signal().is_some() => Err(self.over_limits(exit.to_string())),
            _ => Err(CompileError::Compiler { reason: format!("the child ended with {exit}") }),
        }
    }

    fn over_limits(&self, how: String) -> CompileError {
        let CompileLimits { cpu_seconds, address_space_bytes, wall_ms, .. } = self.shared.limits;
        CompileError::OverLimits { cpu_seconds, address_space_bytes, wall_ms, how }
    }

    /// Sends the request, reads the answer (one byte over the limit at most), waits for the end.
    async fn converse(&self, module: &[u8]) -> std::io::Result<(Vec<u8>, ExitStatus)> {
        let Shared { child, limits, .. } = &*self.shared;
        let mut process = Command::new(&child.program)
            .args(&child.args)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(mut stdin), Some(stdout)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(std::io::Error::other("the child's pipes are missing"));
        };
        let request = Request {
            cpu_seconds: limits.cpu_seconds,
            address_space_bytes: limits.address_space_bytes,
            module: limits.module,
        };
        let send = async {
            // A child that ends early breaks the pipe; its answer or exit status says why.
            let _ = stdin.write_all(&request.encode()).await;
            let _ = stdin.write_all(module).await;
            drop(stdin);
        };
        let mut answer = Vec::new();
        let mut stdout = stdout.take(limits.code_bytes.saturating_add(1));
        let ((), received) = tokio::join!(send, stdout.read_to_end(&mut answer));
        received?;
        if answer.len() as u64 > limits.code_bytes {
            process.start_kill()?;
        }
        Ok((answer, process.wait().await?))
    }

    fn load(&self, hash: Hash, code: &[u8]) -> Result<Compiled, CompileError> {
        let module = self.deserialize(code)?;
        let refused = |reason: String| CompileError::Refused { reason };
        match module.get_export("_start") {
            Some(ExternType::Func(ty)) if ty.params().len() == 0 && ty.results().len() == 0 => {}
            _ => return Err(refused("`_start` must take and return nothing".to_owned())),
        }
        let pre = self.shared.linker.instantiate_pre(&module).map_err(|error| {
            refused(format!("{error:#}: declare the import with the type of WASI preview 1"))
        })?;
        let gate = Arc::clone(&self.shared.gate);
        Ok(Compiled { pre, gate, hash, code_bytes: code.len() as u64 })
    }

    #[allow(unsafe_code, reason = "machine code is loaded here and nowhere else")]
    fn deserialize(&self, code: &[u8]) -> Result<Module, CompileError> {
        // SAFETY: `code` is what our own child process, running our own program, answered over a
        // pipe in this very call. It never lies on a disk and no one else can write it. wasmtime
        // checks that it was made by this version with these settings.
        unsafe { Module::deserialize(&self.shared.engine, code) }
            .map_err(|error| CompileError::Compiler { reason: format!("{error:#}") })
    }
}

/// A place for a module that is compiled once.
type Slot = Arc<OnceCell<Arc<Compiled>>>;
