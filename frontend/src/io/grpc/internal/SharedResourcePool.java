package io.grpc.internal;

import com.google.common.util.concurrent.MoreExecutors;

/**
 * Lends what the servers and channels of one process share, as grpc-java's own class does, but for the executor of the
 * calls: a call is computed where its bytes are read. By default grpc-java hands each over to a pool of threads, for services
 * that wait for something; TorchServe's predictions only put a job into a queue. It costs four changes of thread a call, and
 * only the builder of the server could say so, which is inside TorchServe's main class. What may wait, the management calls,
 * GRPCInterceptor gives to a thread of its own.
 */
public final class SharedResourcePool<T> implements ObjectPool<T> {
    private final SharedResourceHolder.Resource<T> resource;

    private SharedResourcePool(SharedResourceHolder.Resource<T> resource) {
        this.resource = resource;
    }

    public static <T> SharedResourcePool<T> forResource(SharedResourceHolder.Resource<T> resource) {
        return new SharedResourcePool<>(resource);
    }

    @Override
    @SuppressWarnings("unchecked")
    public T getObject() {
        return isOfCalls() ? (T) MoreExecutors.directExecutor() : SharedResourceHolder.get(resource);
    }

    @Override
    @SuppressWarnings("unchecked")
    public T returnObject(Object object) {
        if (!isOfCalls()) {
            SharedResourceHolder.release(resource, (T) object);
        }
        return null;
    }

    private boolean isOfCalls() {
        return (Object) resource == GrpcUtil.SHARED_CHANNEL_EXECUTOR;
    }
}
