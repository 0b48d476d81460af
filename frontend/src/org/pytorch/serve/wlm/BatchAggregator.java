package org.pytorch.serve.wlm;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.Map;
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
 * Makes the batches of one worker, and deals its answers out. TorchServe 0.12 fills a batch by the number of requests alone
 * and answers none of them before all are computed: a single tweet that comes in the same millisecond as a list of ten
 * thousand waits seconds for it, with every other of its batch. Here a batch ends where its bodies are more than
 * BYTES_A_BATCH together, so that a large request goes alone; what is left goes back to the head of the queue, in order.
 * And of several workers one takes no large request while the others have one each: it is there for single tweets.
 * Everything else is as in TorchServe's own class, but that no line is logged for each answer.
 */
public class BatchAggregator {
    /** More than a full batch of single tweets; some two or three hundred tweets in lists. */
    static final long BYTES_A_BATCH = 32_768;

    private static final Logger LOGGER = LoggerFactory.getLogger(BatchAggregator.class);
    private static final int OK = 200;
    private static final long RETRY_MILLIS = 2;

    /** Who computes a large request at the moment, with its model. */
    private static final Map<BatchAggregator, Model> AT_LARGE = new IdentityHashMap<>();

    protected Model model;
    protected Map<String, Job> jobs;

    public BatchAggregator() {}

    public BatchAggregator(Model model) {
        this.model = model;
        this.jobs = new LinkedHashMap<>();
    }

    public BaseModelRequest getRequest(String threadName, WorkerState state)
            throws InterruptedException, ExecutionException {
        cleanJobs();
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
            cleanJobs();
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
        cleanJobs();
    }

    public void cleanJobs() {
        synchronized (AT_LARGE) {
            AT_LARGE.remove(this);
        }
        if (jobs != null) {
            jobs.clear();
        }
    }

    public void handleErrorJob(Job job) {
        model.addFirst(job);
    }

    public void pollBatch(String threadName, WorkerState state) throws InterruptedException, ExecutionException {
        long waitMillis = state == WorkerState.WORKER_MODEL_LOADED ? 0 : Long.MAX_VALUE;
        model.pollBatch(threadName, waitMillis, jobs);
        while (!jobs.isEmpty() && !keepWhatFits()) {
            // Nothing but large requests, and no turn for one. Whoever comes behind them is seen at the next look.
            Thread.sleep(RETRY_MILLIS);
            if (model.isUseJobTicket()) {
                model.decNumJobTickets();
            }
            model.pollBatch(threadName, waitMillis, jobs);
        }
    }

    public void shutdown() {}

    public void startEventDispatcher() {}

    /** Gives back what is too much for one batch, in order, and returns false where that is everything. */
    private boolean keepWhatFits() {
        Deque<Job> back = new ArrayDeque<>();
        long bytes = 0;
        boolean isFull = false;
        for (Job job : jobs.values()) {
            long size = sizeOf(job);
            boolean isFirst = bytes == 0;
            if (isFull || (isFirst ? size > BYTES_A_BATCH && !takesTurn() : bytes + size > BYTES_A_BATCH)) {
                // Behind a large one without a turn others may go first; behind a full batch nobody passes anybody.
                isFull = isFull || !isFirst;
                back.addLast(job);
            } else {
                bytes += Math.max(1, size);
            }
        }
        while (!back.isEmpty()) {
            try {
                model.addFirst(back.peekLast());
            } catch (IllegalStateException e) { // the queue has been filled meanwhile: rather a long batch than a lost job
                LOGGER.debug("the queue is full: a batch stays as it came");
                return true;
            }
            jobs.remove(back.removeLast().getJobId());
        }
        return !jobs.isEmpty();
    }

    /** Takes the turn for a large request, unless all workers but one have theirs. */
    private boolean takesTurn() {
        synchronized (AT_LARGE) {
            long others = AT_LARGE.values().stream().filter(other -> other == model).count();
            if (others >= Math.max(1, model.getMinWorkers() - 1)) {
                return false;
            }
            AT_LARGE.put(this, model);
            return true;
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
}
