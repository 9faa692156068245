package e2e;

import java.util.ArrayList;
import java.util.List;
import org.crac.Context;
import org.crac.Core;
import org.crac.Resource;

/** Hooks around a snapshot. */
public class Hooks implements Resource {
    private final List<String> told = new ArrayList<>();

    public Hooks() {
        Core.getGlobalContext().register(this);
    }

    @Override
    public void beforeCheckpoint(Context<? extends Resource> context) {
        told.add("before");
    }

    @Override
    public void afterRestore(Context<? extends Resource> context) {
        told.add("after");
    }

    public List<String> handle() {
        System.gc();
        return told;
    }
}
