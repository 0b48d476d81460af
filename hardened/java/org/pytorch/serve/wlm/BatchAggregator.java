package org.pytorch.serve.wlm;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Deque;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.WeakHashMap;
import java.util.concurrent.ExecutionException;
import org.pytorch.serve.job.Job;
import org.pytorch.serve.util.messages.BaseModelRequest;
import org.pytorch.serve.util.messages.InputParameter;
import org.pytorch.serve.util.messages.ModelInferenceRequest;
import org.pytorch.serve.util.messages.ModelLoadModelRequest;
import org.pytorch.serve.util.messages.ModelWorkerResponse;
import org.pytorch.serve.util.messages.Predictions;
import org.pytorch.serve.util.messages.RequestInput;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Makes the batches of one worker and hands out its answers. TorchServe 0.12 fills a batch by the number of requests alone
 * and answers none of them before all are computed: a single tweet that comes in the same millisecond as a list of ten
 * thousand waits seconds for it, with every other of its batch. Here a batch ends where its bodies are more than
 * BYTES_A_BATCH together, so that a large request is computed alone. What is left goes back to the head of the queue, in
 * order.
 *
 * <p>One of several workers takes no large request while the others compute one each: it is there for single tweets. A
 * large request that it finds moves to a queue of its own, once. The worker that is done with a large request takes the
 * next one from there. However many large requests wait, the free worker finds the single tweets behind them.
 *
 * <p>Everything else is as in TorchServe's own class, except that no line is logged for each answer.
 */
public class BatchAggregator {
    /** More than a full batch of single tweets; some two or three hundred tweets in lists. */
    static final long BYTES_A_BATCH = 32_768;

    private static final Logger LOGGER = LoggerFactory.getLogger(BatchAggregator.class);
    private static final int OK = 200;
    private static final int UNAVAILABLE = 503;

    /** The large requests of each model; an entry goes with its model. */
    private static final Map<Model, LargeRequests> LARGE_REQUESTS = new WeakHashMap<>();

    protected Model model;
    protected Map<String, Job> jobs;

    public BatchAggregator() {}

    public BatchAggregator(Model model) {
        this.model = model;
        this.jobs = new LinkedHashMap<>();
    }

    public BaseModelRequest getRequest(String threadName, WorkerState state)
            throws InterruptedException, ExecutionException {
        endBatch();
        ModelInferenceRequest request = new ModelInferenceRequest(model.getModelName());
        pollBatch(threadName, state);
        if (jobs.isEmpty()) {
            if (model.isUseJobTicket()) {
                model.decNumJobTickets();
            }
            return request;
        }
        for (Job job : jobs.values()) {
            if (job.isControlCmd()) {
                if (jobs.size() > 1) {
                    throw new IllegalStateException("a command for the worker came in one batch with other jobs");
                }
                String gpu = job.getPayload().getStringParameter("gpu");
                return new ModelLoadModelRequest(model, gpu == null ? -1 : Integer.parseInt(gpu));
            }
            request.setCommand(job.getCmd());
            job.setScheduled();
            request.addRequest(job.getPayload());
        }
        return request;
    }

    /** Returns false while more of a streamed answer is to come. */
    public boolean sendResponse(ModelWorkerResponse message) {
        boolean done = true;
        if (message.getCode() != OK) {
            for (Job job : jobs.values()) {
                if (isAwaited(job)) {
                    job.sendError(message.getCode(), message.getMessage());
                }
            }
        } else if (jobs.isEmpty()) {
            return true; // of the load
        } else {
            for (Predictions prediction : message.getPredictions()) {
                Job job = jobs.get(prediction.getRequestId());
                if (job == null) {
                    throw new IllegalStateException("the worker answered a request that is not of its batch");
                }
                done = done && !"true".equals(prediction.getHeaders().get(RequestInput.TS_STREAM_NEXT));
                if (isAwaited(job)) {
                    job.response(
                            prediction.getResp(),
                            prediction.getContentType(),
                            prediction.getStatusCode(),
                            prediction.getReasonPhrase(),
                            prediction.getHeaders());
                }
            }
        }
        if (done) {
            endBatch();
        }
        return done;
    }

    public void sendError(BaseModelRequest message, String error, int status) {
        if (message instanceof ModelLoadModelRequest) {
            LOGGER.warn("Load model failed: {}, error: {}", message.getModelName(), error);
            return;
        }
        if (message != null) { // the worker had it: nobody knows how far it came
            for (RequestInput input : ((ModelInferenceRequest) message).getRequestBatch()) {
                Job job = jobs.remove(input.getRequestId());
                if (job == null) {
                    LOGGER.error("Unexpected job in sendError(): {}", input.getRequestId());
                } else {
                    job.sendError(status, error);
                }
            }
            if (!jobs.isEmpty()) {
                LOGGER.error("Not all jobs got an error response.");
            }
        } else { // no worker has seen them
            for (Job job : new ArrayList<>(jobs.values())) {
                if (job.isControlCmd()) {
                    job.sendError(status, error);
                } else {
                    handleErrorJob(job);
                }
            }
        }
        endBatch();
    }

    /**
     * Called by TorchServe when a worker has ended. What is left here then was never sent: the worker ended while its batch
     * was being filled. It goes back to the head of the queue; TorchServe's own class forgets it, and nobody answers it.
     */
    public void cleanJobs() {
        List<Job> unsent = new ArrayList<>(jobs.values());
        Collections.reverse(unsent);
        for (Job job : unsent) {
            if (!job.isControlCmd()) {
                handleErrorJob(job);
            }
        }
        endBatch();
        largeRequests().wakeIdleWorker(model);
    }

    public void handleErrorJob(Job job) {
        try {
            model.addFirst(job);
        } catch (IllegalStateException e) {
            job.sendError(UNAVAILABLE, "the queue is full; send the request again later");
        }
    }

    public void pollBatch(String threadName, WorkerState state) throws InterruptedException, ExecutionException {
        boolean isLoaded = state == WorkerState.WORKER_MODEL_LOADED;
        while (jobs.isEmpty()) {
            // Those that moved there came before all that is in the queue now.
            Job large = isLoaded ? largeRequests().takeNext(this) : null;
            if (large != null) {
                jobs.put(large.getJobId(), large);
                return;
            }
            model.pollBatch(threadName, isLoaded ? 0 : Long.MAX_VALUE, jobs);
            if (jobs.isEmpty()) {
                return;
            }
            keepWhatFits();
        }
    }

    public void shutdown() {}

    public void startEventDispatcher() {}

    private void endBatch() {
        largeRequests().endTurn(this);
        if (jobs != null) {
            jobs.clear();
        }
    }

    /** Gives back what is too much for one batch, in order; a large request without a turn moves out of the way. */
    private void keepWhatFits() {
        Deque<Job> back = new ArrayDeque<>();
        long bytes = 0;
        boolean isFull = false;
        for (Job job : new ArrayList<>(jobs.values())) {
            long size = sizeOf(job);
            if (!isFull && bytes == 0 && size > BYTES_A_BATCH) {
                isFull = takesTurnFor(job);
            } else if (isFull || bytes + size > BYTES_A_BATCH) {
                isFull = true; // behind a full batch nobody passes anybody
                back.addLast(job);
            } else {
                bytes += Math.max(1, size);
            }
        }
        while (!back.isEmpty()) {
            giveBack(back.removeLast());
        }
    }

    /** Returns false where the large request has left the batch, to wait or with an error. */
    private boolean takesTurnFor(Job job) {
        Outcome outcome = largeRequests().takeTurnOrMove(this, job);
        if (outcome == Outcome.TURN) {
            return true;
        }
        jobs.remove(job.getJobId());
        if (outcome == Outcome.REFUSED) {
            job.sendError(UNAVAILABLE, "too many large requests wait; send the request again later");
        }
        return false;
    }

    private void giveBack(Job job) {
        try {
            model.addFirst(job);
            jobs.remove(job.getJobId());
        } catch (IllegalStateException e) { // the queue has been filled meanwhile
            if (sizeOf(job) > BYTES_A_BATCH) {
                largeRequests().move(job);
                jobs.remove(job.getJobId());
            } else {
                LOGGER.debug("the queue is full: a small request stays in a batch that is too long");
            }
        }
    }

    private LargeRequests largeRequests() {
        synchronized (LARGE_REQUESTS) {
            return LARGE_REQUESTS.computeIfAbsent(model, ignored -> new LargeRequests());
        }
    }

    private static long sizeOf(Job job) {
        long bytes = 0;
        for (InputParameter parameter : job.getPayload().getParameters()) {
            bytes += parameter.getValue() == null ? 0 : parameter.getValue().length;
        }
        return bytes;
    }

    private static boolean isAwaited(Job job) {
        boolean awaited = job.getPayload().getClientExpireTS() > System.currentTimeMillis();
        if (!awaited) {
            LOGGER.warn("Drop response for inference request {} due to client timeout", job.getJobId());
        }
        return awaited;
    }

    private enum Outcome {
        TURN,
        MOVED,
        REFUSED
    }

    /**
     * The large requests of one model: those that wait for a turn, and which workers have one. All but one of the workers
     * can have a turn at the same time; a single worker can, too.
     */
    private static final class LargeRequests {
        private final Deque<Job> waiting = new ArrayDeque<>();
        private final Set<BatchAggregator> busy = Collections.newSetFromMap(new IdentityHashMap<>());

        /** Both in one step: a worker that ends its turn in between would not see the request, and nobody would take it. */
        synchronized Outcome takeTurnOrMove(BatchAggregator worker, Job job) {
            if (isTurnFree(worker.model)) {
                busy.add(worker);
                return Outcome.TURN;
            }
            // As many as the queue itself holds (jobQueueSize); it has room for single tweets all the same.
            Model model = worker.model;
            if (waiting.size() >= model.getJobQueueRemainingCapacity() + model.getPendingRequestsInJobQueue()) {
                return Outcome.REFUSED;
            }
            waiting.addLast(job);
            return Outcome.MOVED;
        }

        synchronized void move(Job job) {
            waiting.addLast(job);
        }

        /** Returns the request that waits longest, and takes a turn for it; null where none waits or no turn is free. */
        synchronized Job takeNext(BatchAggregator worker) {
            if (waiting.isEmpty() || !isTurnFree(worker.model)) {
                return null;
            }
            busy.add(worker);
            return waiting.removeFirst();
        }

        synchronized void endTurn(BatchAggregator worker) {
            busy.remove(worker);
        }

        /**
         * Puts the next request where the workers wait that have nothing to do. Where the queue is full none of them waits,
         * and the next to be done looks here first.
         */
        synchronized void wakeIdleWorker(Model model) {
            if (waiting.isEmpty() || !isTurnFree(model)) {
                return;
            }
            try {
                model.addFirst(waiting.getFirst());
                waiting.removeFirst();
            } catch (IllegalStateException e) {
                LOGGER.debug("the queue is full: no worker has to be woken");
            }
        }

        private boolean isTurnFree(Model model) {
            return busy.size() < Math.max(1, model.getMinWorkers() - 1);
        }
    }
}
