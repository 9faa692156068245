package e2e;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;

/** A handler whose type is known only below. */
public abstract class Base<T> implements RequestHandler<T, String> {
    @Override
    public String handleRequest(T event, Context context) {
        return event.getClass().getSimpleName() + " " + describe(event);
    }

    public String plain(T event) {
        return "plain " + handleRequest(event, null);
    }

    protected abstract String describe(T event);

    public static class OfOrder extends Base<Order> {
        @Override
        protected String describe(Order order) {
            return order.getCustomer();
        }
    }
}
