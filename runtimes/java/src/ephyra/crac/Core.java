package ephyra.crac;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** The one context. The library org.crac is led here by its property {@code org.crac.Core.Compat}. */
public final class Core {
    private static final Hooks HOOKS = new Hooks();

    private Core() {
    }

    public static Context<Resource> getGlobalContext() {
        return HOOKS;
    }

    /** Functions do not decide on checkpoints. */
    public static void checkpointRestore() throws CheckpointException, RestoreException {
        throw new UnsupportedOperationException("the platform decides when a snapshot is taken");
    }

    /** Last registered, first told of a checkpoint; told of the restore in the order of registration. */
    private static final class Hooks extends Context<Resource> {
        /** What org.crac registers is a proxy that nobody else holds; it holds the function's own resource weakly. */
        private final List<Resource> registered = new ArrayList<>();

        @Override
        public synchronized void register(Resource resource) {
            registered.add(resource);
        }

        @Override
        public synchronized void beforeCheckpoint(Context<? extends Resource> context) throws CheckpointException {
            List<Resource> resources = new ArrayList<>(registered);
            Collections.reverse(resources);
            CheckpointException failures = new CheckpointException();
            for (Resource resource : resources) {
                try {
                    resource.beforeCheckpoint(this);
                } catch (Exception failure) {
                    failures.addSuppressed(failure);
                }
            }
            if (failures.getSuppressed().length > 0) {
                throw failures;
            }
        }

        @Override
        public synchronized void afterRestore(Context<? extends Resource> context) throws RestoreException {
            RestoreException failures = new RestoreException();
            for (Resource resource : new ArrayList<>(registered)) {
                try {
                    resource.afterRestore(this);
                } catch (Exception failure) {
                    failures.addSuppressed(failure);
                }
            }
            if (failures.getSuppressed().length > 0) {
                throw failures;
            }
        }
    }
}
