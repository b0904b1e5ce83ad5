//! The engine as format `wasm-det-v1` sets it up: one place, used by compiler child and runner.

use crate::guest::Cell;
use wasmparser::WasmFeatures;
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, Linker, OperatorCost, OptLevel,
    PoolingAllocationConfig, Strategy, VariableOperatorCost,
};

/// The name of the module format and of everything that makes its results what they are.
pub const FORMAT: &str = "wasm-det-v1";

/// Tables that a module may define.
pub const MAX_TABLES: u32 = 8;

/// Elements of one table, and of all tables of a guest together.
pub const MAX_TABLE_ELEMENTS: u64 = 100_000;

/// Runs at once in one process. Each reserves address space, not memory.
pub(crate) const SLOTS: u32 = 32;

/// Slots of finished runs whose pages are kept for the next run of the same module.
const WARM_SLOTS: u32 = 8;

/// Pages of a slot that are zeroed by hand rather than given back and faulted in again, bytes.
const RESIDENT_BYTES: usize = 4 << 20;

/// Native stack of the guest, bytes.
const STACK_BYTES: usize = 1 << 20;

/// Native stack of the guest and of the host calls that it makes, bytes.
const FIBER_STACK_BYTES: usize = 2 << 20;

/// What a module may use.
pub(crate) const FEATURES: WasmFeatures = WasmFeatures::MUTABLE_GLOBAL
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::SIMD)
    .union(WasmFeatures::FLOATS);

/// The engine that compiles; it runs nothing.
pub(crate) fn compiling_engine() -> wasmtime::Result<Engine> {
    Engine::new(&config())
}

/// The engine that runs, with memories and stacks that are reused: a short task would spend most
/// of its time on page faults. Where address space is limited it does without.
pub(crate) fn running_engine() -> wasmtime::Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(SLOTS)
        .total_memories(SLOTS)
        .total_stacks(SLOTS)
        .total_tables(SLOTS * MAX_TABLES)
        .max_tables_per_module(MAX_TABLES)
        .max_core_instance_size(32 << 20)
        .table_elements(usize::try_from(MAX_TABLE_ELEMENTS).unwrap_or(usize::MAX))
        .linear_memory_keep_resident(RESIDENT_BYTES)
        .table_keep_resident(64 << 10)
        .async_stack_keep_resident(64 << 10)
        .max_unused_warm_slots(WARM_SLOTS);
    let mut pooled = config();
    pooled.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&pooled).or_else(|error| {
        tracing::warn!("running without a pool of memories, which is slower: {error:#}");
        Engine::new(&config())
    })
}

/// What makes results what they are, and how code is compiled. Both engines must have it alike, or
/// loading fails.
fn config() -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(true)
        .consume_fuel(true)
        .operator_cost(operator_cost())
        .wasm_simd(true)
        .wasm_relaxed_simd(false)
        .wasm_bulk_memory(true)
        .wasm_multi_value(true)
        .wasm_tail_call(false)
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .wasm_extended_const(false)
        .wasm_wide_arithmetic(false)
        .wasm_custom_page_sizes(false)
        .max_wasm_stack(STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        .wasm_backtrace_max_frames(None)
        .native_unwind_info(false)
        .generate_address_map(false);
    config
}

/// Wasmtime's flat prices (1, and 0 for structure) with the prices of bulk work set here, so that
/// an upgrade cannot change them unseen; a test pins the fuel of a known module.
fn operator_cost() -> OperatorCost {
    let mut cost = OperatorCost::new();
    cost.variable = VariableOperatorCost {
        memory_copy_per_byte: 1,
        memory_fill_per_byte: 1,
        memory_init_per_byte: 1,
        memory_grow_per_page: u8::MAX,
        table_copy_per_element: 1,
        table_fill_per_element: 1,
        table_init_per_element: 1,
        table_grow_per_element: 1,
        ..VariableOperatorCost::new()
    };
    cost
}

/// Everything that a module may import.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Cell>> {
    let mut linker = Linker::new(engine);
    crate::wasi::add_to(&mut linker)?;
    crate::product::add_to(&mut linker)?;
    Ok(linker)
}
