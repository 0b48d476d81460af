package org.pytorch.serve.snapshot;

import com.google.gson.Gson;
import java.util.Properties;
import org.pytorch.serve.servingsdk.snapshot.Snapshot;
import org.pytorch.serve.servingsdk.snapshot.SnapshotSerializer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Writes no snapshot and finds none, so that every start takes config.properties and --models at their word.
 *
 * <p>TorchServe's own class of this name writes one to logs/config at each change; a start without --ncs and
 * --ts-config then restores the newest over the command line and over config.properties, without a word. A
 * {@code model_snapshot} written into a configuration on purpose is still read. Why at all: docs/adr/0002.
 */
public class FSSnapshotSerializer implements SnapshotSerializer {
    private static final Logger LOGGER = LoggerFactory.getLogger(FSSnapshotSerializer.class);

    /** Does nothing. */
    @Override
    public void saveSnapshot(Snapshot snapshot, Properties properties) {
        LOGGER.debug("snapshot {} is not written", snapshot.getName());
    }

    /** Reads the snapshot that a configuration holds under {@code model_snapshot}. */
    @Override
    public Snapshot getSnapshot(String json) {
        return new Gson().fromJson(json, Snapshot.class);
    }

    /** Finds none, whatever lies in logs/config. */
    @Override
    public Properties getLastSnapshot() {
        LOGGER.info("snapshots are off: config.properties and the command line decide");
        return null;
    }
}
