//! How WebAssembly is compiled and laid out in memory: the same in the process that compiles and in the one that runs.

use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// Calls that run at once in one host; the server lets no more in.
pub const CALLS: u32 = crate::platform::CALLS;
/// The largest linear memory of one module: what 32 bits can name.
const MEMORY_BYTES: usize = 4 << 30;
/// Core instances, tables and memories of one component. What JavaScript compiles to has five, three and one.
const PARTS_PER_COMPONENT: u32 = 24;
const TABLES_PER_COMPONENT: u32 = 12;
const MEMORIES_PER_COMPONENT: u32 = 2;
/// Elements of one table, and so its function pointers.
const TABLE_ELEMENTS: usize = 64 * 1024;
/// The size of one instance's own structures: large modules have many functions and globals.
const INSTANCE_BYTES: usize = 4 << 20;
/// A guest's own stack, and the one that it runs on together with what it calls in the host.
const WASM_STACK_BYTES: usize = 1 << 20;
const STACK_BYTES: usize = 2 << 20;
/// What stays mapped of a slot that is given back, so that the next instance does not fault it in again.
const RESIDENT_BYTES: usize = 64 * 1024;
/// Slots that keep the image of the module they last held. More would cost memory that idle functions use up.
const WARM_SLOTS: u32 = 64;
/// Frames of a trap's trace.
const TRACE_FRAMES: usize = 24;

/// An engine; `calls` is how many instances it has room for at once ([`CALLS`] in a host).
pub(crate) fn engine(calls: u32) -> wasmtime::Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(calls)
        .total_core_instances(calls.saturating_mul(8))
        .total_memories(calls.saturating_mul(MEMORIES_PER_COMPONENT))
        .total_tables(calls.saturating_mul(8))
        .total_stacks(calls.saturating_add(1))
        .max_core_instances_per_component(PARTS_PER_COMPONENT)
        .max_tables_per_component(TABLES_PER_COMPONENT)
        .max_memories_per_component(MEMORIES_PER_COMPONENT)
        .max_tables_per_module(4)
        .max_memories_per_module(1)
        .table_elements(TABLE_ELEMENTS)
        .max_memory_size(MEMORY_BYTES)
        .max_core_instance_size(INSTANCE_BYTES)
        .max_component_instance_size(INSTANCE_BYTES)
        .max_unused_warm_slots(WARM_SLOTS)
        .linear_memory_keep_resident(RESIDENT_BYTES)
        .table_keep_resident(RESIDENT_BYTES / 4);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .memory_reservation(MEMORY_BYTES as u64)
        .memory_init_cow(true)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(STACK_BYTES)
        .wasm_component_model(true)
        // Traces name functions; where in them would double what is kept of each module.
        .generate_address_map(false)
        // What unwinds by itself, such as a debugger, does not come here; registering that costs at each load.
        .native_unwind_info(false)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(TRACE_FRAMES));
    Engine::new(&config)
}
